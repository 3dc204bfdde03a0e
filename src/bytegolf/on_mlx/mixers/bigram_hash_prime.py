"""MLX twin of model.components.bigram_hash_prime."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime as Spec
from bytegolf.on_mlx.declared import Declared, shifted
from bytegolf.on_mlx.linear import linear


class BigramHashPrime(Declared):
    table: mx.array
    proj: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.buckets, self.multiplier = spec.buckets, spec.multiplier
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def __call__(self, x_BTD: mx.array, ids_BT: mx.array, embedding_VD: mx.array) -> mx.array:
        pairs_BTd = self.table[self.bucket(ids_BT)].astype(x_BTD.dtype)
        return x_BTD + linear(pairs_BTd, self.proj)

    def bucket(self, ids_BT: mx.array) -> mx.array:
        """Table rows (B, T) of the token pairs, int64: products stay below 2^47."""
        ids_BT = ids_BT.astype(mx.int64)
        previous_BT = shifted(ids_BT)
        if self.bos_id is not None:
            previous_BT = mx.where(ids_BT == self.bos_id, 0, previous_BT)
        return (previous_BT * self.multiplier + ids_BT) % self.buckets
