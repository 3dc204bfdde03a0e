"""Laws of the window plan: every target is charged exactly once, with as much context as there is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.errors import ConfigError
from bytegolf.numeric.windows import Window, plan

SIZES = st.tuples(st.integers(0, 300), st.integers(1, 40), st.integers(1, 40)).filter(lambda s: s[2] <= s[1])


@given(SIZES)
def test_every_target_is_scored_exactly_once_and_in_order(sizes: tuple[int, int, int]) -> None:
    scored = [t for w in plan(*sizes) for t in range(w.first_scored, w.end)]
    assert scored == list(range(sizes[0]))


@given(SIZES)
def test_every_window_is_as_long_as_the_context_and_the_block_allow(sizes: tuple[int, int, int]) -> None:
    targets, context, stride = sizes
    for index, window in enumerate(plan(*sizes)):
        assert window.start == index * stride
        assert window.start <= window.first_scored < window.end == min(window.start + context, targets)
        assert window.first_scored - window.start == (context - stride if index else 0)


@given(SIZES, st.integers(0, 300))
def test_no_window_depends_on_where_the_text_ends(sizes: tuple[int, int, int], shorter: int) -> None:
    targets = sizes[0]
    seen = {t: w.start for w in plan(*sizes) for t in range(w.first_scored, w.end)}
    cut = {t: w.start for w in plan(min(shorter, targets), *sizes[1:]) for t in range(w.first_scored, w.end)}
    assert cut == {t: seen[t] for t in range(min(shorter, targets))}


@given(SIZES, st.sets(st.integers(1, 299)))
def test_isolated_texts_are_planned_like_texts_of_their_own(
    sizes: tuple[int, int, int], borders: set[int]
) -> None:
    targets, context, stride = sizes
    starts = [0, *sorted(b for b in borders if b < targets)]
    expected = [
        Window(w.start + begin, w.end + begin, w.first_scored + begin)
        for begin, end in pairwise([*starts, targets])
        for w in plan(end - begin, context, stride)
    ]
    assert list(plan(targets, context, stride, starts)) == expected


@given(SIZES)
def test_the_number_of_windows_follows_the_formula(sizes: tuple[int, int, int]) -> None:
    targets, context, stride = sizes
    expected = 1 + -(-max(0, targets - context) // stride) if targets else 0
    assert len(list(plan(*sizes))) == expected


@pytest.mark.parametrize(
    ("sizes", "windows"), [((10, 8, 4), 2), ((16, 8, 4), 3), ((18, 8, 4), 4), ((20, 8, 8), 3)]
)
def test_small_plans_have_the_published_number_of_windows(sizes: tuple[int, int, int], windows: int) -> None:
    planned = list(plan(*sizes))
    assert len(planned) == windows
    assert sum(w.end - w.first_scored for w in planned) == sizes[0]


def test_the_full_validation_split_has_the_published_number_of_windows() -> None:
    count, scored = 0, 0
    for window in plan(62_021_632, 1024, 64):
        count += 1
        scored += window.end - window.first_scored
    assert (count, scored) == (969_073, 62_021_632)


def test_a_plan_in_full() -> None:
    assert list(plan(18, 8, 4)) == [Window(0, 8, 0), Window(4, 12, 8), Window(8, 16, 12), Window(12, 18, 16)]


@pytest.mark.parametrize(("context", "stride"), [(8, 0), (8, 9), (0, 0), (0, 1), (8, -1)])
def test_a_stride_outside_the_context_is_refused_at_the_call(context: int, stride: int) -> None:
    with pytest.raises(ConfigError, match="stride"):
        plan(100, context, stride)
