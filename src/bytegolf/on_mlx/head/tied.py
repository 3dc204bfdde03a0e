"""MLX twin of model.components.tied."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.tied import Tied as Spec
from bytegolf.on_mlx.declared import Declared
from bytegolf.on_mlx.linear import linear


class Tied(Declared):
    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.softcap = spec.softcap

    def __call__(self, x_BTD: mx.array, embedding_VD: mx.array) -> mx.array:
        """Logits (B, T, V) in float32: the softmax that follows needs the precision."""
        return softcapped(x_BTD, embedding_VD, self.softcap)


def softcapped(x_BTD: mx.array, weight_VD: mx.array, cap: float) -> mx.array:
    """cap tanh(x W^T / cap) in float32; dividing x is cheaper than dividing logits."""
    return cap * mx.tanh(linear(x_BTD / cap, weight_VD).astype(mx.float32))
