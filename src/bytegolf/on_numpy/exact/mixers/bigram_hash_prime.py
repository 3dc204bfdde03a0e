"""Exact twin of model.components.bigram_hash_prime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime as Spec
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.mixers.pairs import PairTable, previous
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Stored, Tensors


class BigramHashPrime:
    """x + proj(table[bucket]); the bucket is whole-number arithmetic on the ids."""

    def __init__(
        self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored, bound: float
    ) -> None:
        self._spec, self._bos_id = spec, model.bos_id
        self._pairs = PairTable(ops, tensors["table"], tensors["proj"], 1.0)
        self.bound = bound + self._pairs.bound

    def start(self, lanes: int) -> Memory:
        return Memory(previous=np.full(lanes, -1, np.int64))

    def __call__(self, x_ND: Array, ids_LT: NDArray[np.int64], memory: Memory) -> Array:
        before_LT = np.maximum(previous(ids_LT, memory), 0)  # the first token of a row follows token 0
        if self._spec.stop_at_bos:
            before_LT[ids_LT == self._bos_id] = 0
        bucket_LT = (before_LT * self._spec.multiplier + ids_LT) % self._spec.buckets
        return x_ND + self._pairs(bucket_LT.ravel())
