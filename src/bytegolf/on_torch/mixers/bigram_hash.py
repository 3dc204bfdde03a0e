"""Torch twin of model.components.bigram_hash."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash as Spec
from bytegolf.on_torch.declared import Declared


class BigramHash(Declared):
    table: torch.Tensor
    proj: torch.Tensor
    scale: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.buckets = spec.buckets
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def forward(self, x_BTD: torch.Tensor, ids_BT: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        pairs_BTd = F.embedding(self.bucket(ids_BT), self.table)
        return x_BTD + self.scale.to(x_BTD.dtype) * F.linear(pairs_BTd.to(x_BTD.dtype), self.proj)

    def bucket(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Table rows (B, T) of the token pairs, int64; the last row is reserved for firsts."""
        mixed = torch.bitwise_xor(36313 * ids_BT[:, 1:], 27191 * ids_BT[:, :-1]) % (self.buckets - 1)
        bucket_BT = F.pad(mixed, (1, 0), value=self.buckets - 1)
        if self.bos_id is not None:
            bucket_BT = bucket_BT.masked_fill(ids_BT == self.bos_id, self.buckets - 1)
        return bucket_BT
