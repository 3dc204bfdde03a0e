"""Torch twin of model.components.gqa."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.on_torch.attention.heads import Heads


class Gqa(Heads):
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        return self.attend(F.linear(x_BTD, self.q), F.linear(x_BTD, self.k), F.linear(x_BTD, self.v))
