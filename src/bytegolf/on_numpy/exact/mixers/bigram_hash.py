"""Exact twin of model.components.bigram_hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash as Spec
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.mixers.pairs import PairTable, previous
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Stored, Tensors


class BigramHash:
    """x + scale proj(table[bucket]); the bucket is whole-number arithmetic on the ids."""

    def __init__(
        self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored, bound: float
    ) -> None:
        self._spec, self._bos_id = spec, model.bos_id
        self._pairs = PairTable(ops, tensors["table"], tensors["proj"], float(tensors["scale"].values()))
        self.bound = bound + self._pairs.bound

    def start(self, lanes: int) -> Memory:
        return Memory(previous=np.full(lanes, -1, np.int64))

    def __call__(self, x_ND: Array, ids_LT: NDArray[np.int64], memory: Memory) -> Array:
        before_LT, reserved = previous(ids_LT, memory), self._spec.buckets - 1
        bucket_LT = ((36313 * ids_LT) ^ (27191 * before_LT)) % reserved
        bucket_LT[before_LT < 0] = reserved
        if self._spec.stop_at_bos:
            bucket_LT[ids_LT == self._bos_id] = reserved
        return x_ND + self._pairs(bucket_LT.ravel())
