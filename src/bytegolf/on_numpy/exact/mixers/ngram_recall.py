"""Exact twin of model.components.ngram_recall."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.ngram_recall import NgramRecall as Spec
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Norm, Stored, Tensors, pow2, square_grid


class History:
    """One lane: the tokens that n-grams may hold, and where each n-gram of each order was last seen to lead."""

    def __init__(self, orders: tuple[int, ...]) -> None:
        self._orders = orders
        self._recent: tuple[int, ...] = ()
        self._followers: list[dict[tuple[int, ...], int]] = [{} for _ in orders]
        self._open: list[tuple[int, ...]] = [()] * len(orders)  # n-grams whose follower is yet to come

    def clear(self) -> None:
        """A new document: nothing before it counts."""
        self.__init__(self._orders)  # type: ignore[misc]

    def advance(self, token: int, missing: int) -> list[int]:
        """For each order the token that followed the latest earlier copy of the n-gram ending in `token`."""
        recent = self._recent = (*self._recent, token)[-self._orders[-1] :]
        found, still_open = [], list[tuple[int, ...]]()
        for order, known, ngram in zip(self._orders, self._followers, self._open, strict=True):
            if ngram:
                known[ngram] = token
            now = recent[-order:] if len(recent) >= order else ()
            found.append(known.get(now, missing))
            still_open.append(now)
        self._open = still_open
        return found


class NgramRecall:
    """x + sum_n gate_n * rms(E)[follower_n]: rows of a normed embedding that is computed once."""

    def __init__(
        self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored, bound: float
    ) -> None:
        self._ops, self._spec, self._bos_id = ops, spec, model.bos_id
        self._missing = model.vocab_size
        bits = square_grid(embedding.largest(), model.dim, embedding.name)
        whole_VD = ops.rint(ops.array(embedding.values()) * pow2(bits))
        nothing_1D = ops.zeros((1, model.dim))
        self._normed = ops.concat([Norm(ops, model.dim, bits)(whole_VD), nothing_1D], axis=0)
        gate = tensors["gate"].values()
        self._gates = ops.array(gate[:, None])
        self.bound = bound + float(np.abs(gate).max(axis=1).sum()) * math.sqrt(model.dim)

    def start(self, lanes: int) -> Memory:
        return Memory(history=[History(self._spec.orders) for _ in range(lanes)])

    def __call__(self, x_ND: Array, ids_LT: NDArray[np.int64], memory: Memory) -> Array:
        found = []
        for history, ids in zip(memory["history"], ids_LT.tolist(), strict=True):
            for token in ids:
                if token == self._bos_id and self._spec.stop_at_bos:
                    history.clear()
                found.append(history.advance(token, self._missing))
        orders, dim = self._gates.shape[0], x_ND.shape[-1]
        rows_ND = self._ops.rows(self._normed, np.array(found).T.ravel())
        for term_ND in rows_ND.reshape(orders, -1, dim) * self._gates:
            x_ND = x_ND + term_ND
        return x_ND
