"""MLX twin of model.components.smear_lerp."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_lerp import SmearLerp as Spec
from bytegolf.on_mlx.declared import Declared, shifted


class SmearLerp(Declared):
    gate: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def __call__(self, x_BTD: mx.array, ids_BT: mx.array, embedding_VD: mx.array) -> mx.array:
        gate = mx.sigmoid(self.gate).astype(x_BTD.dtype)
        if self.bos_id is not None:
            gate = mx.where((ids_BT == self.bos_id)[..., None], 0, gate)
        return x_BTD + gate * (shifted(x_BTD) - x_BTD)
