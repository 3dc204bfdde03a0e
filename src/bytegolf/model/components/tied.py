"""Output head that shares the embedding matrix (Press & Wolf 2017), with a logit softcap. PG baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import Component, Tensor


class Tied(Component):
    """logits = c tanh(x E^T / c), c = softcap; bounded logits keep a single token from dominating the loss."""

    kind: Literal["tied"]
    softcap: float = Field(30.0, gt=0)

    def tensors(self, model: Model) -> list[Tensor]:
        return []

    def flops(self, model: Model) -> int:
        return 2 * model.dim * model.vocab_size
