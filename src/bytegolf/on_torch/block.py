"""One layer: residual mix, attention, MLP."""

from __future__ import annotations

import torch

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.spec import block_tensors
from bytegolf.on_torch.declared import Declared, rms_norm


class Block(Declared):
    """x <- mix_x x + mix_x0 x0; x <- x + attention_scale Attention(rms(x)); x <- x + mlp_scale MLP(rms(x))."""

    mix_x: torch.Tensor
    mix_x0: torch.Tensor
    attention_scale: torch.Tensor
    mlp_scale: torch.Tensor

    def __init__(self, model: Model, layer: int) -> None:
        super().__init__(t for t in block_tensors(model, layer) if "." not in t.name)
        self.attention = registry.lookup("attention", model.attention.kind, "torch")(model.attention, model)
        self.mlp = registry.lookup("mlp", model.mlp.kind, "torch")(model.mlp, model)

    def forward(self, x_BTD: torch.Tensor, x0_BTD: torch.Tensor, last: int, start: int) -> torch.Tensor:
        """The last n = `last` of T tokens, (B, n, D); `start` is the position of the first of the T in its row."""
        kind = x_BTD.dtype
        x_BTD = self.mix_x.to(kind) * x_BTD + self.mix_x0.to(kind) * x0_BTD
        attended_BnD = self.attention(rms_norm(x_BTD), last, start)
        x_BnD: torch.Tensor = x_BTD[:, -last:] + self.attention_scale.to(kind) * attended_BnD
        mlp_BnD: torch.Tensor = self.mlp(rms_norm(x_BnD))
        return x_BnD + self.mlp_scale.to(kind) * mlp_BnD
