"""MLX twin of model.components.relu2_glu."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2_glu import Relu2Glu as Spec
from bytegolf.on_mlx.declared import Declared
from bytegolf.on_mlx.linear import linear


class Relu2Glu(Declared):
    gate: mx.array
    up: mx.array
    proj: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))

    def __call__(self, x_BTD: mx.array) -> mx.array:
        gate_BTh = mx.square(mx.maximum(linear(x_BTD, self.gate), 0))
        return linear(gate_BTh * linear(x_BTD, self.up), self.proj)
