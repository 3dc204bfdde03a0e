"""The multiplier of a step under each budget and each schedule."""

from __future__ import annotations

import pytest

from bytegolf.config.schema import Trapezoid, WarmdownSteps
from bytegolf.train.budget import Budget

FALLING = WarmdownSteps(kind="warmdown_steps", steps=100)


def multiplier(budget: Budget, schedule: Trapezoid | WarmdownSteps, steps: int, seconds: float) -> float:
    return budget.multiplier(schedule, steps=steps, tokens=steps * 8, seconds=seconds, step_tokens=8)


@pytest.mark.parametrize(("steps", "expected"), [(0, 1.0), (899, 1.0), (900, 1.0), (950, 0.5), (999, 0.01)])
def test_a_warm_down_of_steps_is_the_same_under_every_budget_at_a_steady_pace(
    steps: int, expected: float
) -> None:
    """1000 steps of 8 tokens and half a second."""
    for budget in (Budget("steps", 1000), Budget("tokens", 8000), Budget("seconds", 500)):
        assert multiplier(budget, FALLING, steps, steps / 2) == pytest.approx(expected)


def test_under_a_budget_of_time_the_mean_of_the_steps_done_says_how_many_are_left() -> None:
    budget = Budget("seconds", 600)
    assert multiplier(budget, FALLING, 1, 10.0) == pytest.approx(590 / 1000)  # a slow first step looks short
    assert multiplier(budget, FALLING, 500, 500.0) == pytest.approx(1.0)
    assert multiplier(budget, FALLING, 800, 560.0) == pytest.approx(40 / (100 * 0.7))
    assert multiplier(budget, FALLING, 900, 601.0) == 0.0


def test_a_run_too_short_for_its_warm_down_falls_from_the_first_step() -> None:
    for budget in (Budget("steps", 50), Budget("tokens", 400)):
        assert multiplier(budget, FALLING, 0, 0.0) == pytest.approx(0.5)


def test_a_trapezoid_goes_by_the_share_of_the_budget() -> None:
    curve = Trapezoid(warmup=0.1, warmdown=0.5)
    assert multiplier(Budget("seconds", 10), curve, 3, 7.5) == pytest.approx(0.5)
    assert multiplier(Budget("steps", 100), curve, 5, 7.5) == pytest.approx(0.5)
