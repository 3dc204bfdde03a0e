"""How far a run is: the share of its one budget that is spent."""

from __future__ import annotations

from dataclasses import dataclass

from bytegolf.config.schema import BUDGETS, Train


@dataclass(frozen=True)
class Budget:
    """`unit` is seconds, steps or tokens; `amount` is how many of them training may take."""

    unit: str
    amount: float

    @classmethod
    def of(cls, train: Train) -> Budget:
        unit = next(key for key in BUDGETS if getattr(train, key) is not None)
        return cls(unit, float(getattr(train, unit)))

    def progress(self, *, steps: int, tokens: int, seconds: float) -> float:
        """Share spent, 0 at the start; training stops when it reaches 1."""
        return {"steps": steps, "tokens": tokens, "seconds": seconds}[self.unit] / self.amount
