"""The statistics against scipy, against published figures, and against what must hold of any of them."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bytegolf.record.statistics import (
    PRIOR_SD,
    against,
    detectable,
    holm,
    paired_bootstrap,
    pooled,
    runs_needed,
    unexplained,
    welch,
)

SCORES = st.lists(st.integers(10_000, 20_000).map(lambda n: n / 10_000), min_size=2, max_size=6)
# PR 162, three seeds: val_loss in nats per token, and the threshold that it was held against.
PR162B = (1.93492097, 1.93591485, 1.93314046)


def varied(*arms: list[float]) -> None:
    assume(any(len(set(values)) > 1 for values in arms))


@given(a=SCORES, b=SCORES, margin=st.sampled_from([0.0, 0.003, -0.01]))
def test_welch_is_scipys(a: list[float], b: list[float], margin: float) -> None:
    varied(a, b)
    found = welch(a, b, margin)
    assert found is not None
    theirs = stats.ttest_ind(np.array(a) - margin, b, equal_var=False, alternative="greater")
    assert (found.t, found.df, found.p) == pytest.approx(
        (theirs.statistic, theirs.df, theirs.pvalue), rel=1e-6
    )


@given(a=SCORES, b=SCORES, shift=st.integers(-5, 5), scale=st.sampled_from([0.5, 2.0]))
def test_what_shifts_or_scales_both_arms_changes_no_p(
    a: list[float], b: list[float], shift: int, scale: float
) -> None:
    varied(a, b)
    moved = welch([scale * x + shift for x in a], [scale * x + shift for x in b])
    found, back = welch(a, b), welch(b, a)
    assert found is not None
    assert moved is not None
    assert back is not None
    assert moved.p == pytest.approx(found.p, rel=1e-5)
    assert moved.gain == pytest.approx(scale * found.gain, abs=1e-9)
    assert back.p == pytest.approx(1 - found.p, abs=1e-9)
    assert back.interval() == pytest.approx(tuple(-x for x in reversed(found.interval())), abs=1e-9)


@given(a=SCORES, b=SCORES)
def test_a_larger_margin_is_harder_to_show(a: list[float], b: list[float]) -> None:
    varied(a, b)
    p = [pooled(a, b, margin, prior_sd=0.1).p for margin in (0.0, 0.01, 0.1)]
    assert p == sorted(p)


@given(a=SCORES, b=SCORES, prior=st.sampled_from([0.001, 0.05, 0.5]))
def test_a_prior_pulls_the_spread_towards_itself(a: list[float], b: list[float], prior: float) -> None:
    free = len(a) + len(b) - 2
    own = math.sqrt(sum((len(x) - 1) * statistics.variance(x) for x in (a, b)) / free)
    each = math.sqrt(1 / len(a) + 1 / len(b))
    found = pooled(a, b, prior_sd=prior, prior_df=10).se / each
    assert min(own, prior) - 1e-12 <= found <= max(own, prior) + 1e-12
    assert pooled(a, b, prior_sd=prior, prior_df=0).se / each == pytest.approx(own) if own else True
    assert pooled(a[:1], b[:1], prior_sd=prior).se == pytest.approx(prior * math.sqrt(2))


def test_scores_without_any_spread_or_gain_show_nothing() -> None:
    for gain, p in ((0.0, 0.5), (0.1, 0.0), (-0.1, 1.0)):
        assert pooled([1.0, 1.0], [1.0 - gain, 1.0 - gain], prior_df=0).p == p


def test_too_little_is_no_test() -> None:
    assert welch([1.0], [1.0, 1.1]) is None
    assert welch([1.0, 1.0], [1.0, 1.0]) is None
    assert against(1.0, [0.9]) is None


def test_figures_that_were_published() -> None:
    """Of PR 162 the t against its threshold; critical values at p = 0.01 for 2, 3 and 4 degrees of freedom."""
    found = against(1.9835 - 0.005, PR162B)
    assert found is not None
    assert statistics.fmean(PR162B) == pytest.approx(1.93465876, abs=1e-8)
    assert statistics.stdev(PR162B) == pytest.approx(0.00140566, abs=1e-8)
    assert round(found.t, 1) == 54.0
    assert [round(float(stats.t.isf(0.01, df)), 3) for df in (2, 3, 4)] == [6.965, 4.541, 3.747]


@pytest.mark.parametrize(
    ("sd", "gain", "needed"),
    [
        (0.0007, 0.0023, 3),
        (0.0007, 0.0010, 13),
        (0.0007, 0.0005, 52),
        (0.0004, 0.0010, 5),
        (0.0004, 0.0005, 17),
        (0.0010, 0.0023, 5),
        (0.0010, 0.0010, 27),
        (0.0010, 0.0005, 105),
    ],
)
def test_how_many_runs_a_gain_takes(sd: float, gain: float, needed: int) -> None:
    assert runs_needed(gain, sd) == needed
    assert detectable(needed, needed, sd) <= gain
    assert needed == 1 or detectable(needed - 1, needed - 1, sd) > gain


def test_no_gain_takes_no_number_of_runs() -> None:
    assert runs_needed(0.0, PRIOR_SD) is None
    assert runs_needed(-0.1, PRIOR_SD) is None


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_makes_p_larger_and_keeps_the_order(p: list[float]) -> None:
    found = holm(p)
    assert all(own <= corrected <= 1 for own, corrected in zip(p, found, strict=True))
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [found[i] for i in order] == sorted(found)
    assert min(found) == pytest.approx(min(1.0, len(p) * min(p)))


def test_the_bootstrap_by_hand_and_by_simulation() -> None:
    draw = np.random.default_rng(1)
    n_bytes = draw.integers(100, 4000, 400)
    a = n_bytes * (1.0 + 0.1 * draw.standard_normal(400))
    b = a - n_bytes * (0.01 + 0.02 * draw.standard_normal(400))
    found = paired_bootstrap(a, b, n_bytes, 2000)
    assert found.gain == pytest.approx((a.sum() - b.sum()) / math.log(2) / n_bytes.sum())
    assert found.interval[0] < found.gain < found.interval[1]
    assert found.share > 0.99
    spread = np.std((a - b) / n_bytes) / math.log(2) / math.sqrt(400)
    assert found.interval[1] - found.interval[0] == pytest.approx(3.92 * spread, rel=0.35)
    same = paired_bootstrap(a, a, n_bytes, 100)
    assert (same.gain, same.interval, same.share) == (0.0, (0.0, 0.0), 0.0)
    assert paired_bootstrap(a, b, n_bytes, 200) == paired_bootstrap(a, b, n_bytes, 200)
    back = paired_bootstrap(b, a, n_bytes, 2000)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_a_prior_about_something_else_is_noticed() -> None:
    """Seeds of small runs spread a hundred times as much as those the prior comes from."""
    assert unexplained([1.97, 1.99], [1.79, 1.83], PRIOR_SD, 46) < 1e-6
    assert unexplained([1.2000, 1.2010], [1.1990, 1.2001], PRIOR_SD, 46) > 0.05
    assert unexplained([1.0], [2.0], PRIOR_SD, 46) == 1.0
    own = stats.f.sf(np.var([1.0, 1.1, 1.3], ddof=1) / 0.1**2, 2, 10)
    assert unexplained([1.0, 1.1, 1.3], [5.0], 0.1, 10) == pytest.approx(own)
