"""MLX twin of model.components.ngram_recall."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.ngram_recall import NgramRecall as Spec
from bytegolf.on_mlx.declared import Declared, rms_norm, shifted


class NgramRecall(Declared):
    gate: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.orders = spec.orders
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def __call__(self, x_BTD: mx.array, ids_BT: mx.array, embedding_VD: mx.array) -> mx.array:
        tokens_BT = ids_BT.astype(mx.int64)
        if self.bos_id is not None:  # tokens of different documents are different tokens
            document_BT = mx.cumsum((ids_BT == self.bos_id).astype(mx.int32), axis=1)
            tokens_BT = tokens_BT + document_BT.astype(mx.int64) * embedding_VD.shape[0]
        for order, earlier_BT in latest_copies(tokens_BT, self.orders[-1]):
            if order not in self.orders:
                continue
            follower_BT = mx.take_along_axis(ids_BT, mx.maximum(earlier_BT + 1, 0), axis=1)
            recalled_BTD = rms_norm(embedding_VD[follower_BT].astype(x_BTD.dtype))
            gate = self.gate[self.orders.index(order)].astype(x_BTD.dtype)
            found_BT1 = (earlier_BT >= 0)[..., None]
            x_BTD = x_BTD + gate * recalled_BTD * found_BT1.astype(x_BTD.dtype)
        return x_BTD


def latest_copies(tokens_BT: mx.array, longest: int) -> Iterator[tuple[int, mx.array]]:
    """For n = 1..longest: (n, position of the latest earlier copy of the n-gram ending at each t, or -1).

    An n-gram is its class: equal n-grams of a row have equal classes in 1..T, numbered by sorting the pairs (class
    of the (n-1)-gram before, token). Exact, no hashing. A key holds its position too, so that no two are equal and
    any sort will do: (T + 1)^2 T stays below 2^61 for the longest context. Cost: one sort of each row per n.
    """
    length = tokens_BT.shape[1]
    position = mx.arange(length, dtype=mx.int64)
    first_BT, earlier_BT = _classes(tokens_BT, position)
    yield 1, earlier_BT
    class_BT = first_BT
    for n in range(2, longest + 1):
        pair_BT = shifted(class_BT) * (length + 1) + first_BT
        pair_BT = mx.where(position < n - 1, -1 - position, pair_BT)  # too near the start: equal to nothing
        class_BT, earlier_BT = _classes(pair_BT, position)
        yield n, earlier_BT


def _classes(values_BT: mx.array, position: mx.array) -> tuple[mx.array, mx.array]:
    """Equal values of a row get the same number in 1..T; and where the value stood the last time before, or -1."""
    length = len(position)
    sorted_BT = mx.sort(values_BT * length + position, axis=1)
    where_BT = sorted_BT % length
    value_BT = sorted_BT // length
    first_B1 = mx.ones_like(value_BT[:, :1], dtype=mx.bool_)
    new_BT = mx.concatenate([first_B1, value_BT[:, 1:] != value_BT[:, :-1]], axis=1)
    before_BT = mx.where(new_BT, -1, shifted(where_BT))
    number_BT = mx.cumsum(new_BT.astype(mx.int32), axis=1).astype(mx.int64)
    back = (
        mx.put_along_axis(mx.zeros_like(where_BT), where_BT, x_BT, axis=1) for x_BT in (number_BT, before_BT)
    )
    class_BT, earlier_BT = back
    return class_BT, earlier_BT
