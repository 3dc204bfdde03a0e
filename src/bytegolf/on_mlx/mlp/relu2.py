"""MLX twin of model.components.relu2."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2 import Relu2 as Spec
from bytegolf.on_mlx.declared import Declared
from bytegolf.on_mlx.linear import linear


class Relu2(Declared):
    fc: mx.array
    proj: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))

    def __call__(self, x_BTD: mx.array) -> mx.array:
        return linear(mx.square(mx.maximum(linear(x_BTD, self.fc), 0)), self.proj)
