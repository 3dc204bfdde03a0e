"""The training loop. It knows a trainer, batches, a budget, a clock and lists of hooks, and no feature by name."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from bytegolf.config.schema import Optimizer, Train
from bytegolf.data.loader import Batch
from bytegolf.errors import TrainingDivergedError
from bytegolf.model.backend import Trainer
from bytegolf.model.world import ALONE, World
from bytegolf.train.budget import Budget
from bytegolf.train.clock import Clock


class Batches(Protocol):
    """Training data of this rank: a pure function of the step. The loop asks for one step after the other."""

    def batch(self, step: int) -> Batch: ...


@dataclass(frozen=True)
class StepRecord:
    """One line of metrics.jsonl. loss: mean nats per token of this step's batch, before its update.

    step counts from 1; tokens, documents (that began in the rows) and seconds are totals so far, of all ranks;
    seconds are those of the slowest. progress: share of the budget spent. loader_wait: seconds that the slowest
    rank waited for this batch. peak_bytes: the most memory so far, of the rank that took most.
    """

    step: int
    loss: float
    tokens: int
    seconds: float
    progress: float
    lr_multiplier: float
    grad_norm: float
    documents: int = 0
    loader_wait: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Done:
    """How far training is: what a checkpoint has to know beside the state of the trainer."""

    steps: int = 0
    tokens: int = 0
    documents: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Totals of a finished loop. interrupted: somebody asked it to stop before its budget was spent.

    seconds count training alone; aside: seconds of what else was done, by name.
    """

    steps: int
    tokens: int
    documents: int
    seconds: float
    interrupted: bool
    aside: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> Done:
        return Done(self.steps, self.tokens, self.documents, self.seconds)


class Hook(Protocol):
    """Something that watches a run: metrics, progress."""

    def on_step(self, record: StepRecord) -> None: ...

    def close(self) -> None: ...


class Pause(Protocol):
    """Something that wants a standstill now and then: checkpoints, validation. Every rank has the same ones.

    While it works no step is under way and the clock stands; `name` is what its seconds count as.
    """

    name: str

    def due(self, record: StepRecord) -> bool:
        """After this step? Depends on the record alone, which is the same on all ranks."""
        ...

    def on_pause(self, done: Done, aside: dict[str, float]) -> None: ...


def run_loop(
    trainer: Trainer,
    batches: Batches,
    train: Train,
    hooks: Sequence[Hook],
    stop: Callable[[], bool],
    *,
    pauses: Sequence[Pause] = (),
    world: World = ALONE,
    start: Done | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Train until the budget is spent or `stop()` is true on any rank; at least one step. Closes the hooks in any
    case.

    start: what an earlier process has done of this run. Raises TrainingDivergedError at the first loss or gradient
    that is not finite, and what the trainer raises when another rank is lost.
    """
    with ExitStack() as closing:
        for hook in reversed(hooks):
            closing.callback(hook.close)
        loop = _Loop(trainer, batches, train, hooks, pauses, world, start or Done(), clock or Clock())
        return loop.run(stop)


@dataclass(frozen=True)
class _Begun:
    """A step that has begun: where it leaves the totals, the rest as in StepRecord."""

    steps: int
    tokens: int
    documents: int  # of this rank, in this step
    multiplier: float
    loader_wait: float


class _Loop:
    """`done` is what is finished and agreed on by all ranks; `begun` are the steps under way, at most `ahead`."""

    def __init__(
        self,
        trainer: Trainer,
        batches: Batches,
        train: Train,
        hooks: Sequence[Hook],
        pauses: Sequence[Pause],
        world: World,
        start: Done,
        clock: Clock,
    ) -> None:
        self.trainer, self.batches, self.train, self.world = trainer, batches, train, world
        self.hooks, self.pauses, self.clock = hooks, pauses, clock
        self.budget = Budget.of(train)
        self.done, self.begun = start, deque[_Begun]()
        self.first, self.next_step, self.tokens = start.steps, start.steps, start.tokens
        self.asked, self.due = False, dict[str, Pause]()

    def run(self, stop: Callable[[], bool]) -> Outcome:
        while self.begun or self.may_begin():
            while len(self.begun) <= self.trainer.ahead and self.may_begin():
                self.begin()
            self.finish(stop)
            if self.due and not self.begun:
                self.pause()
        spent = self.progress()
        facts = self.done
        return Outcome(
            facts.steps,
            facts.tokens,
            facts.documents,
            facts.seconds,
            self.asked and spent < 1.0,
            dict(self.clock.aside),
        )

    def may_begin(self) -> bool:
        """Not when the budget is spent, somebody asked to stop, or a pause is due."""
        if self.asked or self.due:
            return False
        return self.next_step == 0 or self.progress() < 1.0

    def expected_seconds(self) -> float:
        """When the step that begins next will really start: after those under way, each as long as the mean."""
        mean = self.done.seconds / max(self.done.steps, 1)
        return self.done.seconds + len(self.begun) * mean

    def progress(self) -> float:
        seconds = self.expected_seconds()
        return self.budget.progress(steps=self.next_step, tokens=self.tokens, seconds=seconds)

    def begin(self) -> None:
        asked = time.perf_counter()
        batch = self.batches.batch(self.next_step)
        wait = time.perf_counter() - asked
        rows, width = batch.ids.shape
        step_tokens = rows * (width - 1) * self.world.size
        multiplier = self.budget.multiplier(
            self.train.schedule,
            steps=self.next_step,
            tokens=self.tokens,
            seconds=self.expected_seconds(),
            step_tokens=step_tokens,
        )
        self.trainer.begin(batch.ids, multiplier, self.next_step)
        self.next_step += 1
        self.tokens += step_tokens
        self.begun.append(_Begun(self.next_step, self.tokens, len(batch.starts), multiplier, wait))

    def finish(self, stop: Callable[[], bool]) -> None:
        """Take in the oldest step under way, tell the hooks, and agree with the other ranks on how to go on."""
        result, step = self.trainer.finish(), self.begun.popleft()
        told = self.world.gather(
            [
                result.loss,
                self.clock.seconds,
                float(stop()),
                step.loader_wait,
                step.documents,
                self.trainer.peak_bytes(),
            ]
        )
        loss = float(told[:, 0].mean())
        _, seconds, asked, wait, _, peak = (float(value) for value in told.max(axis=0))
        if not (math.isfinite(loss) and math.isfinite(result.grad_norm)):
            raise _diverged(step.steps, loss, result.grad_norm, step.multiplier, self.train)
        documents = self.done.documents + int(told[:, 4].sum())
        self.done = Done(step.steps, step.tokens, documents, seconds)
        record = StepRecord(
            step=step.steps,
            loss=loss,
            tokens=step.tokens,
            seconds=seconds,
            progress=self.budget.progress(steps=step.steps, tokens=step.tokens, seconds=seconds),
            lr_multiplier=step.multiplier,
            grad_norm=result.grad_norm,
            documents=documents,
            loader_wait=wait,
            peak_bytes=int(peak),
        )
        for hook in self.hooks:
            hook.on_step(record)
        self.asked = self.asked or bool(asked)
        self.due |= {pause.name: pause for pause in self.pauses if pause.due(record)}

    def pause(self) -> None:
        for name, pause in self.due.items():
            with self.clock.stopped(name):
                pause.on_pause(self.done, dict(self.clock.aside))
        self.due = {}


def warm_up(trainer: Trainer, batches: Batches, steps: int, first: int) -> None:
    """Take `steps` steps, which compiles what is compiled, and undo them: weights, optimizers, random numbers."""
    before = trainer.state()
    for step in range(first, first + steps):
        trainer.step(batches.batch(step).ids, 1.0, step)
    trainer.load_state(before)


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
