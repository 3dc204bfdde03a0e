"""Torch twin of model.components.mla."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.on_torch.attention.heads import Heads


class Mla(Heads):
    q: torch.Tensor
    kv_down: torch.Tensor
    k_up: torch.Tensor
    v_up: torch.Tensor

    def forward(self, x_BTD: torch.Tensor, last: int, start: int) -> torch.Tensor:
        """What the last n = `last` tokens get, (B, n, D)."""
        q_BnD = F.linear(x_BTD[:, -last:], self.q)
        latent_BTr = F.linear(x_BTD, self.kv_down)
        return self.attend(q_BnD, F.linear(latent_BTr, self.k_up), F.linear(latent_BTr, self.v_up), start)
