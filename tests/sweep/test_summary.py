"""The statistics of a sweep against formulas, tables and computations by hand."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.sweep.queue import Row
from bytegolf.sweep.summary import Summary, expected_largest, holm, paired_p, summarise

P = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def rows(scores: dict[int, list[float | None]], values: dict[int, dict[str, Any]] | None = None) -> list[Row]:
    """Setting 0 is the base; seeds 1, 2, ..; None is a run that failed."""
    found = []
    for setting, of_setting in scores.items():
        for seed, score in enumerate(of_setting, start=1):
            name, state = f"trial-{setting:03d}-seed{seed}", "failed" if score is None else "done"
            facts = {} if score is None else {"bpb": score, "artifact_bytes": 100 + seed, "seconds": 2.0}
            set_to = (values or {}).get(setting, {"a": setting} if setting else {})
            error = "it broke" if score is None else ""
            found.append(Row(name, setting, set_to, setting == 0, str(setting), seed, state, facts, error))
    return found


def summary(
    scores: dict[int, list[float | None]], values: dict[int, dict[str, Any]] | None = None
) -> Summary:
    return summarise(rows(scores, values), "bpb", "bpb")


def test_means_spreads_and_the_order() -> None:
    found = summary({0: [1.5, 1.7], 1: [1.2, 1.6], 2: [1.1, None]})
    assert [r.setting for r in found.settings] == [2, 1, 0]
    assert [r.mean for r in found.settings] == pytest.approx([1.1, 1.4, 1.6])
    assert [r.sd for r in found.settings] == [
        None,
        pytest.approx(0.4 / math.sqrt(2)),
        pytest.approx(0.2 / math.sqrt(2)),
    ]
    assert [(r.n, r.best_seed, r.bytes, r.failed) for r in found.settings] == [
        (1, 1, 101, 1),
        (2, 1, 102, 0),
        (2, 1, 102, 0),
    ]
    assert found.failures == {"trial-002-seed2": "it broke"}
    assert found.counts == {"done": 5, "failed": 1, "running": 0, "waiting": 0}
    # Different seeds: nothing is taken out. sqrt((0.08 + 0.02) / 2), over the harmonic mean of 1, 2 and 2 seeds.
    assert found.selection.pooled_sd == found.selection.noise_sd == pytest.approx(math.sqrt(0.05))
    assert found.selection.luck == pytest.approx(
        1.5 / math.sqrt(math.pi) * math.sqrt(0.05) / math.sqrt(3 / 2)
    )
    assert found.selection.lead == pytest.approx(0.3)


def test_the_expected_largest_of_normals_is_that_of_the_tables() -> None:
    assert expected_largest(1) == 0.0
    assert expected_largest(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_largest(3) == pytest.approx(1.5 / math.sqrt(math.pi))
    assert expected_largest(10) == pytest.approx(1.53875, abs=1e-5)  # Harter 1961, table 1
    assert expected_largest(100) == pytest.approx(2.50759, abs=1e-5)


def test_what_a_seed_does_to_all_alike_is_no_noise() -> None:
    shift = [0.0, 0.5, -0.3]
    found = summary({0: [2 + s for s in shift], 1: [1.9 + s for s in shift], 2: [2.05 + s for s in shift]})
    assert found.selection.pooled_sd == pytest.approx(statistics.stdev(shift))
    assert found.selection.noise_sd == pytest.approx(0.0, abs=1e-12)
    # By hand: the interaction of 2 settings and 2 seeds is (a - b - c + d) / 2 in each cell up to its sign.
    crossed = summary({0: [1.0, 1.3], 1: [1.1, 1.2]})
    assert crossed.selection.noise_sd == pytest.approx(math.sqrt(4 * (0.2 / 4) ** 2))


def test_p_is_students_t_of_the_differences() -> None:
    # Differences 0.1, 0.3: mean 0.2, se 0.1, t = 2 with one degree of freedom: p = 1 - 2 atan(2) / pi.
    assert paired_p([1.1, 1.5], [1.0, 1.2]) == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert paired_p([1.5, 2.5], [1.0, 2.0]) == 0.0
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(P)
def test_holm_keeps_the_order_and_never_helps(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


def test_settings_are_compared_with_the_base_over_the_seeds_both_have() -> None:
    found = summary({0: [1.0, 1.2, None], 1: [1.1, 1.5, 9.0], 2: [1.0, None, 1.0], 3: [1.2, 1.3, 1.0]})
    by_setting = {r.setting: r for r in found.settings}
    assert by_setting[0].p is None
    assert by_setting[1].p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert by_setting[2].p is None, "one seed in common"
    smaller = 1 - 2 * math.atan(3) / math.pi  # of setting 3, with differences 0.2 and 0.1
    assert by_setting[3].p == pytest.approx(smaller)
    assert by_setting[1].p_holm == by_setting[3].p_holm == pytest.approx(2 * smaller)
    alone = summary({1: [1.0, 2.0], 2: [1.0, 2.5]})
    assert [r.p for r in alone.settings] == [None, None], "no base"


def test_one_seed_says_nothing_of_luck() -> None:
    found = summary({0: [1.0], 1: [2.0]})
    assert (found.selection.pooled_sd, found.selection.noise_sd, found.selection.luck) == (None, None, None)
    assert found.selection.lead == 1.0


def test_the_keys_of_a_grid_share_out_the_variance() -> None:
    values = {
        i + 1: {"big": big, "small": small}
        for i, (big, small) in enumerate([(1, "x"), (1, "y"), (2, "x"), (2, "y")])
    }
    found = summary({1: [1.0], 2: [1.1], 3: [2.0], 4: [2.1]}, values)
    big, small = found.keys
    assert (big.key, small.key) == ("big", "small")
    assert big.levels == pytest.approx({"1": 1.05, "2": 2.05})
    assert (big.spread, small.spread) == (pytest.approx(1.0), pytest.approx(0.1))
    assert big.share == pytest.approx(1 / 1.01)
    assert (big.share or 0) + (small.share or 0) == pytest.approx(1.0)


def test_drawn_numbers_are_ranked() -> None:
    values = {
        i: {"lr": lr, "noise": noise}
        for i, (lr, noise) in enumerate([(0.3, 5), (0.1, 1), (0.2, 4), (0.4, 2)], 1)
    }
    found = summary({1: [1.3], 2: [1.1], 3: [1.2], 4: [1.9]}, values)
    assert [(k.key, k.share) for k in found.keys] == [("lr", None), ("noise", None)]
    assert found.keys[0].rho == pytest.approx(1.0)
    assert found.keys[1].rho == pytest.approx(1 - 6 * 6 / (4 * 15))


def test_nothing_done_is_a_summary_too() -> None:
    found = summary({0: [None]})
    assert (found.settings, found.keys, found.selection.settings) == ([], [], 0)
    assert found.to_json()["failures"] == {"trial-000-seed1": "it broke"}
