"""Grouped-query attention (Ainslie et al. 2023) with QK norm, a gain per query head and RoPE. PG baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import FAN_IN, ZEROS, Component, Init, Tensor


class Gqa(Component):
    """q (H, hd), k and v (K, hd) per token with hd = dim / heads; query head i reads kv head i // (H / K).

    q and k are RMS-normed over hd, rotated by RoPE, then q is multiplied by its head's gain:
    out = proj(softmax(causal(q k^T / sqrt(hd))) v). The projection starts at zero. With `window` w > 0 a token
    attends to itself and the w - 1 tokens before it (Child et al. 2019); 0 means all of them.
    """

    kind: Literal["gqa"]
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    q_gain: float = 1.5
    rope_base: float = Field(10_000.0, gt=1)
    window: int = Field(0, ge=0)

    def check(self, model: Model) -> None:
        if model.dim % self.heads:
            raise ValueError(f"attention.heads {self.heads} must divide model.dim {model.dim}")
        if self.heads % self.kv_heads:
            raise ValueError(f"attention.kv_heads {self.kv_heads} must divide attention.heads {self.heads}")
        if (model.dim // self.heads) % 2:
            raise ValueError(f"RoPE needs an even head size, got dim / heads = {model.dim // self.heads}")

    def tensors(self, model: Model) -> list[Tensor]:
        kv = model.dim // self.heads * self.kv_heads
        return [
            Tensor("q", (model.dim, model.dim), "matrix", FAN_IN),
            Tensor("k", (kv, model.dim), "matrix", FAN_IN),
            Tensor("v", (kv, model.dim), "matrix", FAN_IN),
            Tensor("proj", (model.dim, model.dim), "matrix", ZEROS),
            Tensor("q_gain", (self.heads,), "scalar", Init("constant", self.q_gain)),
        ]

    def flops(self, model: Model) -> int:
        weights = sum(t.size for t in self.tensors(model) if t.role == "matrix")
        return 2 * weights + 2 * 2 * model.dim * min(self.window or model.context, model.context)
