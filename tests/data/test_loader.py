"""Batches: a pure function of seed and step that uses every window of an epoch once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data.loader import Batches
from bytegolf.errors import DataError


def tokens(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint16)  # each token is its own position


@given(
    context=st.integers(1, 20),
    extra=st.integers(0, 300),
    rows=st.integers(1, 40),
    seed=st.integers(0, 2**64 - 1),
)
def test_an_epoch_uses_every_window_once(context: int, extra: int, rows: int, seed: int):
    count = context + 1 + extra
    batches = Batches(tokens(count), context, rows, seed)
    epoch = batches.windows_per_epoch
    steps = -(-3 * epoch // rows)
    found = np.concatenate([batches.batch(step) for step in range(steps)])
    assert (np.diff(found, axis=1) == 1).all()  # every row is a run of the text: target = next token
    for start in range(0, 3 * epoch, epoch):
        starts = np.sort(found[start : start + epoch, 0])
        assert (np.diff(starts) == context).all()
        assert 0 <= starts[0] < context
    assert epoch >= (count - 1) // context - 1


@given(step=st.integers(0, 10**6), seed=st.integers(0, 99))
def test_a_batch_depends_on_seed_and_step_alone(step: int, seed: int):
    used = Batches(tokens(1000), 16, 7, seed)
    for before in (step + 5, 0, step // 2):
        used.batch(before)
    assert np.array_equal(used.batch(step), Batches(tokens(1000), 16, 7, seed).batch(step))


def test_seeds_and_epochs_differ_in_order_and_offset():
    batches = Batches(tokens(6400), 64, 99, 1)
    epochs = [batches.batch(step) for step in range(8)]
    assert len({tuple(e[:, 0] // 64) for e in epochs}) == 8
    assert len({int(e[0, 0]) % 64 for e in epochs}) > 4
    assert not np.array_equal(epochs[0], Batches(tokens(6400), 64, 99, 2).batch(0))


def test_a_batch_has_the_promised_shape_and_values_forever():
    batch = Batches(tokens(40), 4, 3, 5).batch(2)
    assert batch.dtype == np.int64
    assert batch.tolist() == [[28, 29, 30, 31, 32], [0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]


def test_too_few_tokens_for_one_window_are_an_error():
    assert Batches(tokens(9), 8, 2, 0).batch(3).tolist() == [list(range(9))] * 2
    with pytest.raises(DataError, match="needs at least 9 tokens; got 8 tokens"):
        Batches(tokens(8), 8, 2, 0)
