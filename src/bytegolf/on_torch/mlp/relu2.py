"""Torch twin of model.components.relu2."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2 import Relu2 as Spec
from bytegolf.on_torch.declared import Declared


class Relu2(Declared):
    fc: torch.Tensor
    proj: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return F.linear(F.relu(F.linear(x_BTD, self.fc)).square(), self.proj)
