"""Torch twin of model.components.bigram_hash_prime."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime as Spec
from bytegolf.on_torch.declared import Declared


class BigramHashPrime(Declared):
    table: torch.Tensor
    proj: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.buckets, self.multiplier = spec.buckets, spec.multiplier
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def forward(self, x_BTD: torch.Tensor, ids_BT: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        pairs_BTd = F.embedding(self.bucket(ids_BT), self.table)
        return x_BTD + F.linear(pairs_BTd.to(x_BTD.dtype), self.proj)

    def bucket(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Table rows (B, T) of the token pairs, int64: products stay below 2^47."""
        previous_BT = F.pad(ids_BT, (1, -1))
        if self.bos_id is not None:
            previous_BT = previous_BT.masked_fill(ids_BT == self.bos_id, 0)
        return (previous_BT * self.multiplier + ids_BT) % self.buckets
