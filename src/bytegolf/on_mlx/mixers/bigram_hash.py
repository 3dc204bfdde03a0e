"""MLX twin of model.components.bigram_hash."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash as Spec
from bytegolf.on_mlx.declared import Declared, shifted
from bytegolf.on_mlx.linear import linear


class BigramHash(Declared):
    table: mx.array
    proj: mx.array
    scale: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.buckets = spec.buckets
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def __call__(self, x_BTD: mx.array, ids_BT: mx.array, embedding_VD: mx.array) -> mx.array:
        pairs_BTd = self.table[self.bucket(ids_BT)].astype(x_BTD.dtype)
        return x_BTD + self.scale.astype(x_BTD.dtype) * linear(pairs_BTd, self.proj)

    def bucket(self, ids_BT: mx.array) -> mx.array:
        """Table rows (B, T) of the token pairs, int64; the last row is reserved for firsts."""
        ids_BT = ids_BT.astype(mx.int64)
        first_BT = mx.arange(ids_BT.shape[1]) == 0
        if self.bos_id is not None:
            first_BT = first_BT | (ids_BT == self.bos_id)
        mixed_BT = ((36313 * ids_BT) ^ (27191 * shifted(ids_BT))) % (self.buckets - 1)
        return mx.where(first_BT, self.buckets - 1, mixed_BT)
