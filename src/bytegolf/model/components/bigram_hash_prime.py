"""BigramHash with a linear hash (PR 354, and record 2026-03-19_smeargate_orthoinit_muonwd)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Init, Mixer, Tensor


class BigramHashPrime(Mixer):
    """x_t + proj(table[bucket_t]),  bucket_t = (multiplier tok_{t-1} + tok_t) mod B, tok_{-1} = 0.

    The multiplier is a prime: 1,000,003 in PR 354, 92,821 in the record. The first token of a row counts as
    following token 0, so no bucket is reserved; with `stop_at_bos` the first token of a document does too. The
    table starts random and proj at zero, which is alive: proj learns first. Both are of role table, since PR 354
    trains and decays them together with the embeddings.
    """

    placement: ClassVar[Literal["before_norm", "after_norm"]] = "before_norm"

    kind: Literal["bigram_hash_prime"]
    buckets: int = Field(ge=1)
    table_dim: int = Field(128, ge=1)
    multiplier: int = Field(1_000_003, ge=1, lt=1 << 31)
    table_std: float = Field(0.02, gt=0)
    stop_at_bos: bool = True

    def tensors(self, model: Model) -> list[Tensor]:
        return [
            Tensor("table", (self.buckets, self.table_dim), "table", Init("normal", self.table_std)),
            Tensor("proj", (model.dim, self.table_dim), "table", ZEROS),
        ]

    def narrowed(self, ratio: float) -> Self:
        sizes = {
            "buckets": max(2, round(self.buckets * ratio)),
            "table_dim": max(1, round(self.table_dim * ratio)),
        }
        return self.model_copy(update=sizes)

    def flops(self, model: Model) -> int:
        return 2 * model.dim * self.table_dim
