"""MLX twin of model.components.untied."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.untied import Untied as Spec
from bytegolf.on_mlx.declared import Declared
from bytegolf.on_mlx.head.tied import softcapped


class Untied(Declared):
    weight: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.softcap = spec.softcap

    def __call__(self, x_BTD: mx.array, embedding_VD: mx.array) -> mx.array:
        """Logits (B, T, V) in float32."""
        return softcapped(x_BTD, self.weight, self.softcap)
