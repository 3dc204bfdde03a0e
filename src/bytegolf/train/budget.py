"""How far a run is: the share of its one budget that is spent."""

from __future__ import annotations

from dataclasses import dataclass

from bytegolf.config.schema import BUDGETS, Schedule, Train, Trapezoid
from bytegolf.numeric.schedule import trapezoid, warmdown


@dataclass(frozen=True)
class Budget:
    """`unit` is seconds, steps or tokens; `amount` is how many of them training may take."""

    unit: str
    amount: float

    @classmethod
    def of(cls, train: Train) -> Budget:
        unit = next(key for key in BUDGETS if getattr(train, key) is not None)
        return cls(unit, float(getattr(train, unit)))

    def multiplier(
        self, schedule: Schedule, *, steps: int, tokens: int, seconds: float, step_tokens: int
    ) -> float:
        """Learning-rate multiplier of the step after `steps` steps; `step_tokens` is what a step trains on."""
        if isinstance(schedule, Trapezoid):
            progress = self.progress(steps=steps, tokens=tokens, seconds=seconds)
            return trapezoid(progress, schedule.warmup, schedule.warmdown, schedule.floor)
        spent = {"steps": float(steps), "tokens": float(tokens), "seconds": seconds}[self.unit]
        per_step = {"steps": 1.0, "tokens": float(step_tokens), "seconds": seconds / max(steps, 1)}[self.unit]
        return warmdown(self.amount - spent, per_step, schedule.steps)

    def progress(self, *, steps: int, tokens: int, seconds: float) -> float:
        """Share spent, 0 at the start; training stops when it reaches 1."""
        return {"steps": steps, "tokens": tokens, "seconds": seconds}[self.unit] / self.amount
