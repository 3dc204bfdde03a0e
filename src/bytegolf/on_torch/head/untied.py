"""Torch twin of model.components.untied."""

from __future__ import annotations

import torch

from bytegolf.config.schema import Model
from bytegolf.model.components.untied import Untied as Spec
from bytegolf.on_torch.declared import Declared
from bytegolf.on_torch.head.tied import softcapped


class Untied(Declared):
    weight: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.softcap = spec.softcap

    def forward(self, x_BTD: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) in at least float32."""
        return softcapped(x_BTD, self.weight, self.softcap)
