"""Torch twin of model.components.gqa."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.gqa import Gqa as Spec
from bytegolf.on_torch.declared import Declared, rms_norm
from bytegolf.on_torch.rope import Rope


class Gqa(Declared):
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    proj: torch.Tensor
    q_gain: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.heads, self.kv_heads = spec.heads, spec.kv_heads
        self.rope = Rope(model.dim // spec.heads, spec.rope_base, model.context)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        q_BHTd = self.rope(rms_norm(self._split(F.linear(x_BTD, self.q), self.heads)))
        k_BKTd = self.rope(rms_norm(self._split(F.linear(x_BTD, self.k), self.kv_heads)))
        v_BKTd = self._split(F.linear(x_BTD, self.v), self.kv_heads)
        q_BHTd = q_BHTd * self.q_gain.to(q_BHTd.dtype)[:, None, None]
        out_BHTd = F.scaled_dot_product_attention(
            q_BHTd, k_BKTd, v_BKTd, is_causal=True, enable_gqa=self.heads != self.kv_heads
        )
        return F.linear(out_BHTd.transpose(1, 2).flatten(2), self.proj)

    def _split(self, x_BTd: torch.Tensor, heads: int) -> torch.Tensor:
        return x_BTd.view(*x_BTd.shape[:-1], heads, -1).transpose(1, 2)
