"""Laws of the append-only record: each target once, nothing odd, and no other way to a Scored."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.model.scored import Scored, Scores, ScoringError

TOKENS = np.arange(5, 17)  # twelve tokens, eleven targets


@given(st.permutations(range(11)), st.lists(st.integers(1, 10), max_size=4))
def test_blocks_in_any_order_make_the_whole_and_come_back_graded(order: list[int], cuts: list[int]) -> None:
    borders = sorted({0, 11, *cuts})
    blocks = list(pairwise(borders))
    book, costs = Scores(TOKENS), np.linspace(0, 3, 11)
    for index in (i for i in order if i < len(blocks)):
        first, end = blocks[index]
        scored = book.write(first, costs[first:end])
        assert (scored.first, scored.end) == (first, end)
        assert scored.tokens.tolist() == TOKENS[first : end + 1].tolist()
        assert np.array_equal(scored.nats, costs[first:end])
    assert book.written == book.targets == 11
    assert np.array_equal(book.complete(), costs)


@given(st.integers(0, 10), st.integers(1, 11), st.integers(0, 10), st.integers(1, 11))
def test_no_target_is_written_twice(a: int, m: int, b: int, n: int) -> None:
    book = Scores(TOKENS)
    m, n = min(m, 11 - a), min(n, 11 - b)
    book.write(a, np.ones(m))
    if a < b + n and b < a + m:
        with pytest.raises(ScoringError, match="only once"):
            book.write(b, np.zeros(n))
        assert book.written == m
    else:
        book.write(b, np.zeros(n))


def test_a_target_without_a_cost_is_an_error_that_names_it() -> None:
    book = Scores(TOKENS)
    book.write(0, np.ones(4))
    book.write(5, np.ones(6))
    with pytest.raises(ScoringError, match="must be scored") as caught:
        book.complete()
    assert "the first is target 4" in str(caught.value)


@pytest.mark.parametrize("cost", [np.nan, np.inf, -1e-9])
def test_a_cost_is_a_number_of_nats(cost: float) -> None:
    book = Scores(TOKENS)
    with pytest.raises(ScoringError, match="finite number") as caught:
        book.write(2, np.array([1.0, cost]))
    assert "target 3" in str(caught.value)
    assert book.written == 0


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (10, 2), (12, 0)])
def test_costs_outside_the_text_are_refused(first: int, count: int) -> None:
    with pytest.raises(ScoringError, match="of the 11 targets"):
        Scores(TOKENS).write(first, np.zeros(count))


def test_nobody_else_makes_a_scored_and_nobody_changes_one() -> None:
    forged: Any = object()
    with pytest.raises(TypeError, match=r"only Scores\.write"):
        Scored(forged, 0, TOKENS, np.zeros(11))
    mutable = TOKENS.copy()
    scored = Scores(mutable).write(0, np.zeros(3))
    mutable[:] = 0
    assert scored.tokens.tolist() == [5, 6, 7, 8]
    for array in (scored.tokens, scored.nats):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
