"""What every attention with query heads, key-value heads, QK norm and RoPE has in common. PG baseline."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Component, Init, Tensor


class Heads(Component):
    """q (H, hd), k and v (K, hd) per token with hd = dim / heads; query head i reads kv head i // (H / K).

    q and k are RMS-normed over hd, rotated by RoPE, then q is multiplied by its head's gain:
    out = proj(softmax(causal(q k^T / sqrt(hd))) v). The projection starts at zero. With `window` w > 0 a token
    attends to itself and the w - 1 tokens before it (Child et al. 2019); 0 means all of them; 1 leaves nothing to
    choose, so that queries and keys are dead. With `rope_dims`
    r > 0 only the first r of the hd dimensions rotate, at base^(-2i/r) (partial RoPE, PR 489); 0 means all.
    """

    keys: ClassVar[str] = "k"  # the matrix that makes nothing but keys
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    q_gain: float = 1.5
    rope_base: float = Field(10_000.0, gt=1)
    rope_dims: int = Field(0, ge=0)
    window: int = Field(0, ge=0)

    def check(self, model: Model) -> None:
        if model.dim % self.heads:
            raise ValueError(f"attention.heads {self.heads} must divide model.dim {model.dim}")
        if self.heads % self.kv_heads:
            raise ValueError(f"attention.kv_heads {self.kv_heads} must divide attention.heads {self.heads}")
        head_dim = model.dim // self.heads
        if not self.rope_dims and head_dim % 2:
            raise ValueError(f"RoPE needs an even head size, got dim / heads = {head_dim}")
        if self.rope_dims % 2 or self.rope_dims > head_dim:
            raise ValueError(
                f"attention.rope_dims must be even and at most the head size {head_dim}, got {self.rope_dims}"
            )

    def narrowed(self, ratio: float) -> Self:
        rope_dims = 2 * max(1, round(self.rope_dims * ratio / 2)) if self.rope_dims else 0
        window = min(self.window, max(2, round(self.window * ratio)))
        return self.model_copy(update={"rope_dims": rope_dims, "window": window})

    def dead(self) -> frozenset[str]:
        return frozenset({"q", self.keys, "q_gain"} if self.window == 1 else ())

    def kv_dim(self, model: Model) -> int:
        """Width of all keys (or values) of a token together: kv_heads * hd."""
        return model.dim // self.heads * self.kv_heads

    def rotated(self, model: Model) -> int:
        """Dimensions of a head that RoPE turns."""
        return self.rope_dims or model.dim // self.heads

    def output_tensors(self, model: Model) -> list[Tensor]:
        """The projection back to the residual stream, and the gain of each query head."""
        return [
            Tensor("proj", (model.dim, model.dim), "matrix", ZEROS),
            Tensor("q_gain", (self.heads,), "scalar", Init("constant", self.q_gain)),
        ]

    def flops(self, model: Model) -> int:
        weights = sum(t.size for t in self.tensors(model) if t.role == "matrix")
        return 2 * weights + 2 * 2 * model.dim * min(self.window or model.context, model.context)
