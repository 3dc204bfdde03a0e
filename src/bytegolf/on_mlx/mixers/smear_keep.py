"""MLX twin of model.components.smear_keep."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_keep import SmearKeep as Spec
from bytegolf.on_mlx.declared import Declared, shifted


class SmearKeep(Declared):
    gate: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def __call__(self, x_BTD: mx.array, ids_BT: mx.array, embedding_VD: mx.array) -> mx.array:
        lost = mx.sigmoid(-self.gate).astype(x_BTD.dtype)  # 1 - sigmoid(gate)
        if self.bos_id is not None:
            lost = mx.where((ids_BT == self.bos_id)[..., None], 0, lost)
        return x_BTD + lost * (shifted(x_BTD) - x_BTD)
