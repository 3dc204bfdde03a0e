"""BigramHash (PR 162, PR 489, PR 342 and the int5 record): a table of token pairs under an XOR hash."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Init, Mixer, Tensor

# Above this id the 32-bit products of the published hash wrap around.
LARGEST_ID = 59_138


class BigramHash(Mixer):
    """x_t + scale * proj(table[bucket_t]),  bucket_t = ((36313 tok_t) XOR (27191 tok_{t-1})) mod (B - 1).

    The first token of a row has the reserved bucket B - 1; with `stop_at_bos` so has the first token of a
    document. table (B, table_dim) starts at zero; proj (dim, table_dim) starts orthogonal times 1/sqrt(2 L), or
    at zero. Both zero is what PR 489 and PR 342 published: neither factor then ever gets a gradient, and the
    mixer stays without effect.
    """

    placement: ClassVar[Literal["before_norm", "after_norm"]] = "before_norm"

    kind: Literal["bigram_hash"]
    buckets: int = Field(ge=2)
    table_dim: int = Field(128, ge=1)
    scale: float = 0.05
    proj_init: Literal["orthogonal", "zeros"] = "orthogonal"
    stop_at_bos: bool = True

    def check(self, model: Model) -> None:
        if model.vocab_size - 1 > LARGEST_ID:
            raise ValueError(
                f"bigram_hash is defined for token ids up to {LARGEST_ID}; vocab_size is {model.vocab_size}"
            )

    def tensors(self, model: Model) -> list[Tensor]:
        orthogonal = Init("orthogonal", 1.0 / math.sqrt(2 * model.layers))
        proj_init = orthogonal if self.proj_init == "orthogonal" else ZEROS
        return [
            Tensor("table", (self.buckets, self.table_dim), "table", ZEROS),
            Tensor("proj", (model.dim, self.table_dim), "matrix", proj_init),
            Tensor("scale", (), "scalar", Init("constant", self.scale)),
        ]

    def dead(self) -> frozenset[str]:
        return frozenset({"table", "proj", "scale"} if self.proj_init == "zeros" else ())

    def narrowed(self, ratio: float) -> Self:
        sizes = {
            "buckets": max(2, round(self.buckets * ratio)),
            "table_dim": max(1, round(self.table_dim * ratio)),
        }
        return self.model_copy(update=sizes)

    def flops(self, model: Model) -> int:
        return 2 * model.dim * self.table_dim
