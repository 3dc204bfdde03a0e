"""The loop by itself, with a trainer and a clock that the test controls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.schema import Train
from bytegolf.errors import TrainingDivergedError
from bytegolf.model.backend import Ids, StepResult
from bytegolf.numeric.schedule import trapezoid
from bytegolf.train import loop
from bytegolf.train.budget import Budget
from bytegolf.train.loop import Outcome, StepRecord, run_loop

ROWS, CONTEXT = 3, 5


class Log:
    """Trainer, batches and hook in one: everything that happens lands in `events`."""

    def __init__(self, results: Callable[[int], StepResult] = lambda step: StepResult(2.0, 1.0)) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.results = results

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        self.events.append(("step", int(batch[0, 0]), multiplier, step))
        return self.results(step)

    def use_averaged(self) -> bool:
        return False

    def batch(self, step: int) -> Ids:
        return np.full((ROWS, CONTEXT + 1), step)

    def on_step(self, record: StepRecord) -> None:
        self.events.append(("record", record))

    def close(self) -> None:
        self.events.append(("close",))

    def records(self) -> list[StepRecord]:
        return [event[1] for event in self.events if event[0] == "record"]


def train(**options: Any) -> Train:
    optimizers = {"embed": {"kind": "adamw", "lr": 0.5}, "matrix": {"kind": "muon", "lr": 0.25}}
    return Train.model_validate({"rows": ROWS, "optimizers": optimizers, **options})


def run(log: Log, config: Train, stop: Callable[[], bool] = lambda: False) -> Outcome:
    return run_loop(log, log, config, [log], stop)


def a_clock_that_ticks(monkeypatch: pytest.MonkeyPatch, tick: float) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: 100.0 + tick * next(ticks))


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
def test_a_budget_of_seconds_ends_with_the_step_that_spends_it(
    seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_clock_that_ticks(monkeypatch, 1.5)
    log = Log()
    outcome = run(log, train(seconds=seconds))
    assert (outcome.steps, outcome.seconds) == (steps, pytest.approx(1.5 * steps))
    assert [r.seconds for r in log.records()] == pytest.approx([1.5 * s for s in range(1, steps + 1)])


def test_the_rates_follow_the_share_spent_before_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
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
