"""One layer: residual mix, attention, MLP."""

from __future__ import annotations

import mlx.core as mx

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.spec import block_tensors
from bytegolf.on_mlx.declared import Declared, rms_norm


class Block(Declared):
    """x <- mix_x x + mix_x0 x0; x <- x + attention_scale Attention(rms(x)); x <- x + mlp_scale MLP(rms(x))."""

    mix_x: mx.array
    mix_x0: mx.array
    attention_scale: mx.array
    mlp_scale: mx.array

    def __init__(self, model: Model, layer: int) -> None:
        super().__init__(t for t in block_tensors(model, layer) if "." not in t.name)
        self.attention = registry.lookup("attention", model.attention.kind, "mlx")(model.attention, model)
        self.mlp = registry.lookup("mlp", model.mlp.kind, "mlx")(model.mlp, model)

    def __call__(self, x_BTD: mx.array, x0_BTD: mx.array, last: int, start: int) -> mx.array:
        """The last n = `last` of T tokens, (B, n, D); `start` is the position of the first of the T in its row."""
        kind = x_BTD.dtype
        x_BTD = self.mix_x.astype(kind) * x_BTD + self.mix_x0.astype(kind) * x0_BTD
        attended_BnD = self.attention(rms_norm(x_BTD), last, start)
        x_BnD: mx.array = x_BTD[:, -last:] + self.attention_scale.astype(kind) * attended_BnD
        mlp_BnD: mx.array = self.mlp(rms_norm(x_BnD))
        return x_BnD + self.mlp_scale.astype(kind) * mlp_BnD
