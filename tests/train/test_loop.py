"""The loop by itself, with a trainer and a clock that the test controls."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.schema import Train
from bytegolf.data.loader import Batch
from bytegolf.errors import TrainingDivergedError
from bytegolf.model.backend import Ids, StepResult
from bytegolf.numeric.schedule import trapezoid
from bytegolf.train.budget import Budget
from bytegolf.train.clock import Clock
from bytegolf.train.loop import Done, Outcome, StepRecord, run_loop, warm_up

ROWS, CONTEXT = 3, 5


class Log:
    """Trainer, batches and hook in one: everything that happens lands in `events`."""

    compiled = False

    def __init__(
        self, results: Callable[[int], StepResult] = lambda step: StepResult(2.0, 1.0), ahead: int = 0
    ) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.results, self.ahead = results, ahead
        self.under_way: list[int] = []

    def begin(self, batch: Ids, multiplier: float, step: int) -> None:
        self.events.append(("step", int(batch[0, 0]), multiplier, step))
        self.under_way.append(step)

    def finish(self) -> StepResult:
        return self.results(self.under_way.pop(0))

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        self.begin(batch, multiplier, step)
        return self.finish()

    def state(self) -> dict[str, Any]:
        self.events.append(("state",))
        return {"of": self}

    def load_state(self, state: dict[str, Any]) -> None:
        assert state == {"of": self}
        self.events.append(("restored",))

    def peak_bytes(self) -> int:
        return 7

    def use_averaged(self) -> bool:
        return False

    def batch(self, step: int) -> Batch:
        return Batch(np.full((ROWS, CONTEXT + 1), step), np.zeros((step % 2, 2), np.int64))

    def on_step(self, record: StepRecord) -> None:
        self.events.append(("record", record))

    def close(self) -> None:
        self.events.append(("close",))

    def records(self) -> list[StepRecord]:
        return [event[1] for event in self.events if event[0] == "record"]


def train(**options: Any) -> Train:
    optimizers = {"embed": {"kind": "adamw", "lr": 0.5}, "matrix": {"kind": "muon", "lr": 0.25}}
    return Train.model_validate({"rows": ROWS, "optimizers": optimizers, **options})


class Ticking(Clock):
    """A clock by which a step takes `tick` seconds, since the loop looks at it once a step."""

    def __init__(self, tick: float) -> None:
        super().__init__()
        self.tick, self.looks = tick, 0

    @property
    def seconds(self) -> float:
        self.looks += 1
        return self.tick * self.looks


def run(
    log: Log, config: Train, stop: Callable[[], bool] = lambda: False, clock: Clock | None = None
) -> Outcome:
    return run_loop(log, log, config, [log], stop, clock=clock)


@given(st.integers(1, 30))
def test_a_budget_of_steps_is_met_exactly(steps: int) -> None:
    log = Log()
    outcome = run(log, train(steps=steps))
    assert (outcome.steps, outcome.tokens, outcome.interrupted) == (steps, steps * ROWS * CONTEXT, False)
    assert [r.step for r in log.records()] == list(range(1, steps + 1))


@given(st.integers(1, 300))
def test_a_budget_of_tokens_is_met_by_the_first_step_that_reaches_it(tokens: int) -> None:
    outcome = run(Log(), train(tokens=tokens))
    assert outcome.steps == math.ceil(tokens / (ROWS * CONTEXT))


@pytest.mark.parametrize(("seconds", "steps"), [(3.0, 2), (3.1, 3), (1.5, 1), (0.01, 1)])
def test_a_budget_of_seconds_ends_with_the_step_that_spends_it(seconds: float, steps: int) -> None:
    log = Log()
    outcome = run(log, train(seconds=seconds), clock=Ticking(1.5))
    assert (outcome.steps, outcome.seconds) == (steps, pytest.approx(1.5 * steps))
    assert [r.seconds for r in log.records()] == pytest.approx([1.5 * s for s in range(1, steps + 1)])


def test_the_rates_follow_the_share_spent_before_each_step() -> None:
    schedule = {"warmup": 0.2, "warmdown": 0.5, "floor": 0.1}
    log = Log()
    run(log, train(steps=10, schedule=schedule))
    expected = [trapezoid(step / 10, 0.2, 0.5, 0.1) for step in range(10)]
    steps = [event for event in log.events if event[0] == "step"]
    assert [event[2] for event in steps] == pytest.approx(expected)
    assert [r.lr_multiplier for r in log.records()] == [event[2] for event in steps]
    assert [r.progress for r in log.records()] == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_each_step_takes_its_own_batch_and_is_told_to_each_hook_in_order() -> None:
    log = Log()
    first, second = Log(), Log()
    run_loop(log, log, train(steps=3), [first, second, log], lambda: False)
    assert [event[0] for event in log.events] == ["step", "record"] * 3 + ["close"]
    assert [(event[1], event[3]) for event in log.events if event[0] == "step"] == [(0, 0), (1, 1), (2, 2)]
    assert first.events == second.events == [e for e in log.events if e[0] != "step"]


def test_a_stop_ends_the_run_after_the_step_and_says_so() -> None:
    asked = iter([False, False, True])
    outcome = run(Log(), train(steps=10), lambda: next(asked))
    assert (outcome.steps, outcome.interrupted) == (3, True)


def test_a_stop_with_the_last_step_is_no_interruption() -> None:
    assert run(Log(), train(steps=1), lambda: True).interrupted is False


@pytest.mark.parametrize(
    "bad", [StepResult(math.nan, 1.0), StepResult(math.inf, 1.0), StepResult(2.0, math.nan)]
)
def test_the_first_number_that_is_not_finite_ends_the_run_with_step_and_rates(bad: StepResult) -> None:
    log = Log(lambda step: bad if step == 2 else StepResult(2.0, 1.0))
    with pytest.raises(TrainingDivergedError) as caught:
        run(log, train(steps=10, schedule={"warmup": 0.0, "warmdown": 1.0}))
    for words in (
        "step 3",
        "embed adamw 0.4",
        "matrix muon 0.2",
        f"loss {bad.loss}",
        f"norm {bad.grad_norm}",
    ):
        assert words in str(caught.value)
    assert len(log.records()) == 2
    assert log.events[-1] == ("close",)


def test_hooks_are_closed_when_one_of_them_fails() -> None:
    class Failing(Log):
        def on_step(self, record: StepRecord) -> None:
            raise RuntimeError("broken")

    log, failing = Log(), Failing()
    with pytest.raises(RuntimeError, match="broken"):
        run_loop(log, log, train(steps=3), [failing, log], lambda: False)
    assert log.events[-1] == failing.events[-1] == ("close",)


def test_a_hook_that_fails_to_close_does_not_keep_the_others_open() -> None:
    class Failing(Log):
        def close(self) -> None:
            raise RuntimeError("broken")

    log = Log()
    with pytest.raises(RuntimeError, match="broken"):
        run_loop(log, log, train(steps=3), [Failing(), log], lambda: False)
    assert log.events[-1] == ("close",)


@given(st.sampled_from(["steps", "tokens", "seconds"]), st.integers(1, 1000), st.integers(0, 1000))
def test_progress_is_the_share_of_the_one_budget(unit: str, amount: int, spent: int) -> None:
    budget = Budget.of(train(**{unit: amount}))
    progress = budget.progress(**{**dict.fromkeys(("steps", "tokens", "seconds"), 7), unit: spent})
    assert progress == spent / amount


@given(st.integers(1, 12), st.integers(0, 3))
def test_steps_under_way_change_neither_the_steps_nor_what_is_told_of_them(steps: int, ahead: int) -> None:
    """The device may hold a few steps; those that are taken, and their rates, are the same."""
    waiting, flowing = Log(), Log(ahead=ahead)
    outcomes = [run(log, train(steps=steps), clock=Ticking(1.0)) for log in (waiting, flowing)]
    assert outcomes[0] == outcomes[1]
    told = [[replace(record, loader_wait=0.0) for record in log.records()] for log in (waiting, flowing)]
    assert told[0] == told[1]
    assert [e for e in waiting.events if e[0] == "step"] == [e for e in flowing.events if e[0] == "step"]


def test_a_device_that_works_ahead_is_stopped_by_what_the_steps_will_have_taken() -> None:
    """Two seconds a step, ten seconds: when the third is finished, two more are under way and none is begun."""
    log = Log(ahead=2)
    outcome = run(log, train(seconds=10.0), clock=Ticking(2.0))
    assert outcome.steps == 5


class Standstill:
    """A pause after every `every` steps."""

    def __init__(self, log: Log, every: int) -> None:
        self.name, self.log, self.every = f"every {every}", log, every
        self.seen: list[Done] = []

    def due(self, record: StepRecord) -> bool:
        return record.step % self.every == 0

    def on_pause(self, done: Done, aside: dict[str, float]) -> None:
        assert not self.log.under_way, "a step is under way"
        self.seen.append(done)


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2))
def test_pauses_come_at_a_standstill_and_count_apart(steps: int, one: int, other: int, ahead: int) -> None:
    log, clock = Log(ahead=ahead), Clock()
    pauses = [Standstill(log, every) for every in {one, other}]
    outcome = run_loop(log, log, train(steps=steps), [log], lambda: False, pauses=pauses, clock=clock)
    assert [event[3] for event in log.events if event[0] == "step"] == list(range(steps))
    assert [r.step for r in log.records()] == list(range(1, steps + 1))
    for pause in pauses:
        assert all(a.steps < b.steps for a, b in itertools.pairwise(pause.seen))
        assert bool(pause.seen) == (steps >= pause.every)
        if ahead == 0:
            assert [done.steps for done in pause.seen] == list(range(pause.every, steps + 1, pause.every))
    assert outcome.aside.keys() == {pause.name for pause in pauses if pause.seen}


def test_a_run_that_goes_on_takes_the_steps_that_are_left() -> None:
    whole, first, second = Log(), Log(), Log()
    expected = run(whole, train(steps=9))
    stopped = run_loop(first, first, train(steps=9), [first], lambda: len(first.events) > 6)
    outcome = run_loop(second, second, train(steps=9), [second], lambda: False, start=stopped.done)
    assert stopped.interrupted
    assert not outcome.interrupted
    assert (outcome.steps, outcome.tokens, outcome.documents) == (9, expected.tokens, expected.documents)
    steps = [e for log in (first, second) for e in log.events if e[0] == "step"]
    assert steps == [e for e in whole.events if e[0] == "step"]


def test_warm_up_steps_are_undone_and_leave_the_data_where_they_were() -> None:
    log = Log()
    warm_up(log, log, 3, first=5)
    assert [event[0] for event in log.events] == ["state", "step", "step", "step", "restored"]


class Pair:
    """The world of rank 0 of two: the other had loss 4.0 where this one had 2.0, is slower, and asks to stop."""

    rank, size = 0, 2

    def __init__(self, stops_at: int) -> None:
        self.step, self.stops_at = 0, stops_at

    def gather(self, values: Sequence[float]) -> np.ndarray:
        self.step += 1
        loss, seconds, _, wait, documents, peak = values
        other = [
            loss + 2.0,
            seconds + 5.0,
            float(self.step == self.stops_at),
            wait + 1.0,
            documents + 1,
            peak + 1,
        ]
        return np.array([values, other])


def test_ranks_agree_on_loss_time_and_stop() -> None:
    log = Log()
    outcome = run_loop(
        log, log, train(steps=9), [log], lambda: False, world=Pair(stops_at=4), clock=Ticking(1.0)
    )
    assert (outcome.steps, outcome.interrupted, outcome.tokens) == (4, True, 4 * 2 * ROWS * CONTEXT)
    assert [r.loss for r in log.records()] == [3.0] * 4
    assert [r.seconds for r in log.records()] == [6.0, 7.0, 8.0, 9.0]
    assert [r.documents for r in log.records()] == [1, 4, 5, 8]
    assert all(r.loader_wait >= 1.0 and r.peak_bytes == 8 for r in log.records())


def test_the_clock_stands_while_something_else_is_done_and_nobody_can_set_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: random.uniform(-1e9, 1e9))  # somebody sets the wall clock
    clock = Clock(3.0, {"checkpoints": 1.0})
    now[0] += 2.0
    assert clock.seconds == 5.0
    with clock.stopped("checkpoints"):
        now[0] += 10.0
    with contextlib.suppress(KeyError), clock.stopped("validation"):
        now[0] += 4.0
        raise KeyError
    now[0] += 1.0
    assert clock.seconds == 6.0
    assert clock.aside == {"checkpoints": 11.0, "validation": 4.0}
