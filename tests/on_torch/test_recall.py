"""The n-gram mixer finds what followed the last time, by sorting on one side and by a dictionary on the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.load import load_config
from bytegolf.errors import ConfigError
from bytegolf.model.components.ngram_recall import NgramRecall
from bytegolf.on_numpy.mixers.ngram_recall import followers
from bytegolf.on_torch.mixers.ngram_recall import latest_copies
from model_samples import system

TEXT = st.lists(st.integers(0, 3), min_size=1, max_size=30)


def naive(ids: list[int], order: int) -> list[int]:
    """Position of the end of the latest earlier copy of the n-gram at each t, or -1."""
    found = []
    for t in range(len(ids)):
        gram = ids[t - order + 1 : t + 1]
        ends = (
            [e for e in range(order - 1, t) if ids[e - order + 1 : e + 1] == gram] if t >= order - 1 else []
        )
        found.append(max(ends, default=-1))
    return found


@given(TEXT, TEXT, st.integers(1, 5))
def test_the_latest_copies_are_found_in_each_row_alone(
    first: list[int], second: list[int], longest: int
) -> None:
    length = min(len(first), len(second))
    rows = [first[:length], second[:length]]
    found = list(latest_copies(torch.tensor(rows), longest))
    assert [order for order, _ in found] == list(range(1, longest + 1))
    for order, earlier_BT in found:
        assert earlier_BT.tolist() == [naive(row, order) for row in rows]


@given(TEXT, st.integers(1, 5))
def test_the_follower_is_the_token_after_the_latest_copy(ids: list[int], order: int) -> None:
    spec = NgramRecall(kind="ngram_recall", stop_at_bos=False)
    expected = [None if e < 0 else ids[e + 1] for e in naive(ids, order)]
    assert followers(spec, 0, np.array(ids), order) == expected


@given(TEXT, st.integers(1, 5))
def test_with_the_rule_each_document_is_searched_alone(ids: list[int], order: int) -> None:
    spec = NgramRecall(kind="ngram_recall")
    starts = [t for t, token in enumerate(ids) if token == 0 or t == 0]
    expected = []
    for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
        document = ids[start:end]
        expected += [None if e < 0 else document[e + 1] for e in naive(document, order)]
    assert followers(spec, 0, np.array(ids), order) == expected


@pytest.mark.parametrize("orders", ["[]", "[0]", "[2, 1]", "[1, 1]"])
def test_orders_that_do_not_rise_from_one_are_refused(orders: str) -> None:
    with pytest.raises(ConfigError, match="orders"):
        load_config("pocket", [f"model.embed.mixers=[{{kind='ngram_recall', orders={orders}}}]"])


def test_its_gates_start_at_zero_one_row_an_order() -> None:
    (gate,) = NgramRecall(kind="ngram_recall", orders=(1, 3)).tensors(system())
    assert (gate.shape, gate.role, gate.init.kind) == ((2, 512), "gate", "zeros")
