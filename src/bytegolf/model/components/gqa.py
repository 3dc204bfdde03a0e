"""Grouped-query attention (Ainslie et al. 2023). PG baseline."""

from __future__ import annotations

from typing import Literal

from bytegolf.config.schema import Model
from bytegolf.model.components.heads import Heads
from bytegolf.model.spec import Tensor, matrix_init


class Gqa(Heads):
    """Queries, keys and values by one matrix each: q (D, D), k and v (K hd, D). The rest is in `Heads`."""

    kind: Literal["gqa"]

    def tensors(self, model: Model) -> list[Tensor]:
        kv, init = self.kv_dim(model), matrix_init(model)
        return [
            Tensor("q", (model.dim, model.dim), "matrix", init),
            Tensor("k", (kv, model.dim), "matrix", init),
            Tensor("v", (kv, model.dim), "matrix", init),
            *self.output_tensors(model),
        ]
