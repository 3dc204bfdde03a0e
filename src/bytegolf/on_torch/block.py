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

    def forward(self, x_BTD: torch.Tensor, x0_BTD: torch.Tensor) -> torch.Tensor:
        kind = x_BTD.dtype
        x_BTD = self.mix_x.to(kind) * x_BTD + self.mix_x0.to(kind) * x0_BTD
        x_BTD = x_BTD + self.attention_scale.to(kind) * self.attention(rms_norm(x_BTD))
        mlp_BTD: torch.Tensor = self.mlp(rms_norm(x_BTD))
        return x_BTD + self.mlp_scale.to(kind) * mlp_BTD
