"""The training loop. It knows a trainer, batches, a budget and a list of hooks, and no feature by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from bytegolf.config.schema import Optimizer, Train
from bytegolf.errors import TrainingDivergedError
from bytegolf.model.backend import Ids, Trainer
from bytegolf.train.budget import Budget


class Batches(Protocol):
    """Training data: a pure function of the step."""

    def batch(self, step: int) -> Ids:
        """Token ids (rows, T + 1)."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """One line of metrics.jsonl. loss: mean nats per token of this step's batch, before its update.

    step counts from 1; tokens and seconds are totals so far; progress is the share of the budget spent.
    """

    step: int
    loss: float
    tokens: int
    seconds: float
    progress: float
    lr_multiplier: float
    grad_norm: float


@dataclass(frozen=True)
class Outcome:
    """Totals of a finished loop. interrupted: somebody asked it to stop before its budget was spent."""

    steps: int
    tokens: int
    seconds: float
    interrupted: bool


class Hook(Protocol):
    """Something that watches a run: metrics, progress, checkpoints."""

    def on_step(self, record: StepRecord) -> None: ...

    def close(self) -> None: ...


def run_loop(
    trainer: Trainer, batches: Batches, train: Train, hooks: Sequence[Hook], stop: Callable[[], bool]
) -> Outcome:
    """Train until the budget is spent or `stop()` is true; at least one step. Closes the hooks in any case.

    Raises TrainingDivergedError at the first loss or gradient that is not finite.
    """
    budget = Budget.of(train)
    steps = tokens = 0
    start = time.perf_counter()
    seconds, progress, interrupted = 0.0, 0.0, False
    with ExitStack() as closing:
        for hook in reversed(hooks):
            closing.callback(hook.close)
        while progress < 1.0 and not interrupted:
            batch = batches.batch(steps)
            step_tokens = batch.shape[0] * (batch.shape[1] - 1)
            multiplier = budget.multiplier(
                train.schedule, steps=steps, tokens=tokens, seconds=seconds, step_tokens=step_tokens
            )
            result = trainer.step(batch, multiplier, steps)
            if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
                raise _diverged(steps + 1, result.loss, result.grad_norm, multiplier, train)
            steps += 1
            tokens += step_tokens
            seconds = time.perf_counter() - start
            progress = budget.progress(steps=steps, tokens=tokens, seconds=seconds)
            record = StepRecord(steps, result.loss, tokens, seconds, progress, multiplier, result.grad_norm)
            for hook in hooks:
                hook.on_step(record)
            interrupted = progress < 1.0 and stop()
    return Outcome(steps, tokens, seconds, interrupted)


def _diverged(
    step: int, loss: float, grad_norm: float, multiplier: float, train: Train
) -> TrainingDivergedError:
    def rate(optimizer: Optimizer) -> str:
        return f"{optimizer.kind} {optimizer.lr * multiplier:.3g}"

    rates = ", ".join(f"{role} {rate(optimizer)}" for role, optimizer in train.optimizers.items())
    return TrainingDivergedError(
        f"the loss must stay finite; training stopped at step {step}",
        got=f"loss {loss}, gradient norm {grad_norm}; learning rates: {rates}",
        where="train.optimizers",
        fix="halve the learning rates, clip the gradient (-o train.clip=1.0), or warm up longer"
        " (-o train.schedule.warmup=0.05)",
    )
