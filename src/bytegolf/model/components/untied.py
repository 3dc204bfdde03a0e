"""Output head with a matrix of its own, with a logit softcap. PG baseline with TIE_EMBEDDINGS=0."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Component, Tensor


class Untied(Component):
    """logits = c tanh(x W^T / c) with W (V, D) starting at zero: the first prediction is uniform."""

    kind: Literal["untied"]
    softcap: float = Field(30.0, gt=0)

    def tensors(self, model: Model) -> list[Tensor]:
        return [Tensor("weight", (model.vocab_size, model.dim), "head", ZEROS)]

    def flops(self, model: Model) -> int:
        return 2 * model.dim * model.vocab_size
