"""Batches: a pure function of seed and step, the same rows whatever the number of processes that share them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.data.loader import Batches, Published, Strided
from bytegolf.data.prefetch import Prefetched
from bytegolf.data.token_stream import TokenStream
from bytegolf.errors import ConfigError, DataError

EPOCHS = ["shuffled", "strided"]
orders = st.sampled_from(registry.names("order"))
epochs = st.sampled_from(EPOCHS)


def stream(count: int, shard: int = 10**9) -> TokenStream:
    """Each token is its own position, modulo 2^16; cut into shards."""
    tokens = (np.arange(count) % (1 << 16)).astype(np.uint16)
    shards = [tokens[i : i + shard] for i in range(0, count, shard)]
    return TokenStream(shards, [f"shard {i}" for i in range(len(shards))], 1 << 16)


def batches(count: int, context: int, rows: int, seed: int, order: str = "shuffled", **part: int) -> Batches:
    return Batches.of(stream(count), order=order, context=context, rows=rows, seed=seed, **part)


@given(
    order=epochs,
    context=st.integers(1, 20),
    extra=st.integers(0, 300),
    rows=st.integers(1, 40),
    seed=st.integers(0, 2**64 - 1),
)
def test_an_epoch_uses_every_window_once(order: str, context: int, extra: int, rows: int, seed: int):
    count = context + 1 + extra
    made = batches(count, context, rows, seed, order)
    epoch = made.order.windows_per_epoch
    steps = -(-3 * epoch // rows)
    found = np.concatenate([made.batch(step).ids for step in range(steps)])
    assert (np.diff(found, axis=1) == 1).all()  # every row is a run of the text: target = next token
    for start in range(0, 3 * epoch, epoch):
        starts = np.sort(found[start : start + epoch, 0])
        assert (np.diff(starts) == context).all()
        assert 0 <= starts[0] < context
    assert epoch >= (count - 1) // context - 1


@given(order=orders, step=st.integers(0, 10**6), seed=st.integers(0, 99))
def test_a_batch_depends_on_seed_and_step_alone(order: str, step: int, seed: int):
    used = batches(1000, 16, 8, seed, order)
    for before in (step + 5, 0, step // 2):
        used.batch(before)
    assert np.array_equal(used.batch(step).ids, batches(1000, 16, 8, seed, order).batch(step).ids)


@given(order=orders, size=st.sampled_from([1, 2, 4, 8]), step=st.integers(0, 999), seed=st.integers(0, 9))
def test_the_rows_of_a_step_are_the_same_for_any_number_of_processes(
    order: str, size: int, step: int, seed: int
):
    whole = batches(3000, 8, 16, seed, order, bos_id=7).batch(step)
    parts = [batches(3000, 8, 16, seed, order, bos_id=7, rank=r, size=size).batch(step) for r in range(size)]
    assert np.array_equal(np.concatenate([part.ids for part in parts]), whole.ids)
    assert sum(len(part.starts) for part in parts) == len(whole.starts)


@pytest.mark.parametrize("order", EPOCHS)
def test_seeds_and_epochs_differ_in_order_and_offset(order: str):
    made = batches(6400, 64, 99, 1, order)
    found = [made.batch(step).ids for step in range(8)]
    assert len({tuple(e[:, 0] // 64) for e in found}) == 8
    assert len({int(e[0, 0]) % 64 for e in found}) > 4
    assert not np.array_equal(found[0], batches(6400, 64, 99, 2, order).batch(0).ids)


@given(windows=st.integers(1, 5000), seed=st.integers(0, 2**64 - 1))
def test_a_stride_keeps_neighbours_in_time_apart_in_the_data(windows: int, seed: int):
    order = Strided(2 * windows + 3, 2, 1, seed)
    windows = order.windows_per_epoch
    _, place = order.epoch(0)
    found = place(np.arange(windows))
    assert sorted(found) == list(range(windows))
    for near in range(1, min(64, windows)):
        apart = np.abs(found[near:] - found[:-near])
        assert np.minimum(apart, windows - apart).min() >= windows // 256


def test_a_stride_takes_its_rows_from_all_shards():
    """A step of 64 rows finds windows in each of 16 shards, as many as are to be expected to within a few."""
    order = Strided(16 * 100_000, 10, 64, 0)
    for step in range(0, 2000, 97):
        counts = np.bincount(order.starts(step) // 100_000, minlength=16)
        assert counts.min() >= 1
        assert counts.max() <= 12


@given(
    count=st.integers(20, 400),
    context=st.integers(1, 9),
    per_slice=st.integers(1, 3),
    step=st.integers(0, 50),
)
def test_the_published_order_is_the_loader_of_the_baseline(
    count: int, context: int, per_slice: int, step: int
):
    """Written out as the baseline does it: take(8 * (n / 8 + 1)) tokens from an endless stream, slice by slice."""
    assume(count > context)
    rows = 8 * per_slice
    local = per_slice * context
    advance = 8 * (local + 1)
    endless = np.arange((step + 1) * advance) % count
    taken = endless[step * advance :]
    expected = []
    for k in range(8):
        piece = taken[k * (local + 1) : (k + 1) * (local + 1)]
        expected += [piece[i * context : (i + 1) * context + 1] for i in range(per_slice)]
    assert np.array_equal(batches(count, context, rows, 0, "published").batch(step).ids, expected)
    assert advance == rows * context + 8


def test_a_batch_has_the_promised_shape_and_values_forever():
    batch = batches(40, 4, 3, 5).batch(2)
    assert batch.ids.dtype == np.int64
    assert batch.ids.tolist() == [[28, 29, 30, 31, 32], [0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]
    assert batches(400, 4, 3, 5, "strided").batch(2).ids[:, 0].tolist() == STRIDED


STRIDED = [120, 356, 196]


def test_the_starts_of_documents_are_where_the_inputs_are_bos():
    batch = Batches.of(stream(40), context=4, rows=3, seed=5, bos_id=8).batch(2)
    assert batch.starts.tolist() == [[2, 0]]
    at_the_end = Batches.of(stream(40), context=4, rows=3, seed=5, bos_id=4).batch(2)
    assert at_the_end.starts.tolist() == []  # a target only


def test_too_few_tokens_for_one_window_are_an_error():
    assert batches(9, 8, 2, 0).batch(3).ids.tolist() == [list(range(9))] * 2
    with pytest.raises(DataError, match="needs at least 9 tokens; got 8 tokens"):
        batches(8, 8, 2, 0)


def test_rows_that_cannot_be_divided_are_an_error_that_says_what_can():
    with pytest.raises(ConfigError, match=r"6 rows for 4 processes[\s\S]*\[1, 2, 3, 6\][\s\S]*train.rows=8"):
        batches(100, 4, 6, 0, size=4)
    with pytest.raises(ConfigError, match="8 slices of whole rows; got rows = 12"):
        Published(1000, 4, 12, 0)


@given(
    count=st.integers(5, 200),
    shard=st.integers(1, 70),
    starts=st.lists(st.integers(0, 10**4), max_size=8),
    length=st.integers(1, 150),
)
def test_a_stream_of_shards_is_the_shards_end_to_end_and_again(
    count: int, shard: int, starts: list[int], length: int
):
    cut = stream(count, shard)
    assert len(cut) == count
    found = cut.windows(np.array([s % count for s in starts], dtype=np.int64), length)
    assert found.shape == (len(starts), length)
    assert found.tolist() == [[(s + i) % count for i in range(length)] for s in starts]


def test_a_token_beyond_the_vocabulary_names_shard_and_place():
    shards = [np.arange(5, dtype=np.uint16), np.array([1, 2, 900, 3], dtype=np.uint16)]
    bad = TokenStream(shards, [Path("one.bin"), Path("two.bin")], 100)
    assert bad.windows(np.array([0]), 7).tolist() == [[0, 1, 2, 3, 4, 1, 2]]
    for start, length in ((3, 6), (7, 1), (8, 9)):
        with pytest.raises(DataError, match=r"id 900 at token 2 \(in two.bin\)[\s\S]*--resume"):
            bad.windows(np.array([start]), length)


@given(first=st.integers(0, 50), count=st.integers(0, 12))
def test_batches_made_ahead_are_the_same_batches(first: int, count: int):
    made = batches(500, 8, 4, 3)
    with Prefetched(made, first) as ahead:
        for step in range(first, first + count):
            assert np.array_equal(ahead.batch(step).ids, made.batch(step).ids)
    assert not ahead._thread.is_alive()


def test_what_goes_wrong_ahead_is_raised_by_who_wants_the_batch():
    shards = [np.zeros(80, dtype=np.uint16), np.full(9, 500, dtype=np.uint16)]
    made = Batches.of(TokenStream(shards, ["good", "bad"], 300), order="published", context=1, rows=8, seed=0)
    with Prefetched(made) as ahead:
        for step, _ in pairwise(range(6)):
            ahead.batch(step)
        with pytest.raises(DataError, match=r"id 500 at token 0 \(in bad\)"):
            ahead.batch(5)
