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
        self._recent: list[int] = []
        self._followers: list[dict[tuple[int, ...], int]] = [{} for _ in orders]
        self._open: list[tuple[int, ...] | None] = [None] * len(orders)

    def clear(self) -> None:
        """A new document: nothing before it counts."""
        self.__init__(self._orders)  # type: ignore[misc]

    def advance(self, token: int, missing: int) -> list[int]:
        """For each order the token that followed the latest earlier copy of the n-gram ending in `token`."""
        self._recent = [*self._recent[-self._orders[-1] + 1 :], token] if self._orders[-1] > 1 else [token]
        found = []
        for i, order in enumerate(self._orders):
            known, open_ngram = self._followers[i], self._open[i]
            if open_ngram is not None:
                known[open_ngram] = token
            ngram = tuple(self._recent[-order:]) if len(self._recent) >= order else None
            found.append(missing if ngram is None else known.get(ngram, missing))
            self._open[i] = ngram
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
        self._gates = [ops.array(row) for row in gate]
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
        found_nN = np.array(found).T
        for gate, row in zip(self._gates, found_nN, strict=True):
            x_ND = x_ND + self._ops.rows(self._normed, row) * gate
        return x_ND
