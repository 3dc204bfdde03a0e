"""Torch twin of model.components.gqa."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.on_torch.attention.heads import Heads


class Gqa(Heads):
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor

    def forward(self, x_BTD: torch.Tensor, last: int, start: int) -> torch.Tensor:
        """What the last n = `last` tokens get, (B, n, D)."""
        q_BnD = F.linear(x_BTD[:, -last:], self.q)
        return self.attend(q_BnD, F.linear(x_BTD, self.k), F.linear(x_BTD, self.v), start)
