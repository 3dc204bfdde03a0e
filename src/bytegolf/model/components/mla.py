"""Latent attention of PR 354: the joint low-rank keys and values of DeepSeek-V2's MLA, without its cache."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.components.heads import Heads
from bytegolf.model.spec import Tensor, matrix_init


class Mla(Heads):
    """Keys and values share one latent c = kv_down x of `kv_rank` numbers: k = k_up c, v = v_up c.

    q (D, D), kv_down (r, D), k_up and v_up (K hd, r). Against `gqa` a layer saves 2 D K hd - r (D + 2 K hd)
    parameters. Of DeepSeek-V2's MLA (Liu et al. 2024, arXiv 2405.04434) this is the factorisation alone: RoPE
    turns all of k, there is no separate rotated head, no norm on c, no compressed q, and full keys at run time.
    """

    keys: ClassVar[str] = "k_up"
    kind: Literal["mla"]
    kv_rank: int = Field(ge=1)

    def narrowed(self, ratio: float) -> Self:
        narrow = super().narrowed(ratio)
        return narrow.model_copy(update={"kv_rank": max(1, round(self.kv_rank * ratio))})

    def tensors(self, model: Model) -> list[Tensor]:
        kv, init = self.kv_dim(model), matrix_init(model)
        return [
            Tensor("q", (model.dim, model.dim), "matrix", init),
            Tensor("kv_down", (self.kv_rank, model.dim), "matrix", init),
            Tensor("k_up", (kv, self.kv_rank), "matrix", init),
            Tensor("v_up", (kv, self.kv_rank), "matrix", init),
            *self.output_tensors(model),
        ]
