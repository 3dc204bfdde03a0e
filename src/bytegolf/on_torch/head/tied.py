"""Torch twin of model.components.tied."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.tied import Tied as Spec
from bytegolf.on_torch.declared import Declared


class Tied(Declared):
    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.softcap = spec.softcap

    def forward(self, x_BTD: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) in at least float32: the softmax that follows needs the precision."""
        return softcapped(x_BTD, embedding_VD, self.softcap)


def softcapped(x_BTD: torch.Tensor, weight_VD: torch.Tensor, cap: float) -> torch.Tensor:
    """cap tanh(x W^T / cap) in at least float32; dividing x is cheaper than dividing logits."""
    small_BTV = F.linear(x_BTD / cap, weight_VD)
    return cap * torch.tanh(small_BTV.to(torch.promote_types(small_BTV.dtype, torch.float32)))
