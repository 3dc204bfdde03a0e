"""Torch twin of model.components.relu2_glu."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2_glu import Relu2Glu as Spec
from bytegolf.on_torch.declared import Declared


class Relu2Glu(Declared):
    gate: torch.Tensor
    up: torch.Tensor
    proj: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return F.linear(F.relu(F.linear(x_BTD, self.gate)).square() * F.linear(x_BTD, self.up), self.proj)
