"""Torch twin of model.components.smear_keep."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_keep import SmearKeep as Spec
from bytegolf.on_torch.declared import Declared


class SmearKeep(Declared):
    gate: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def forward(self, x_BTD: torch.Tensor, ids_BT: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        kept = torch.sigmoid(self.gate).to(x_BTD.dtype).expand_as(x_BTD)
        if self.bos_id is not None:
            kept = kept.masked_fill((ids_BT == self.bos_id).unsqueeze(-1), 1.0)
        return torch.lerp(F.pad(x_BTD, (0, 0, 1, -1)), x_BTD, kept)
