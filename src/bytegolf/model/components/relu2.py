"""Squared-ReLU MLP (So et al. 2021). PG baseline."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Component, Tensor, matrix_init


class Relu2(Component):
    """out = proj(relu(fc x)^2); the projection starts at zero."""

    kind: Literal["relu2"]
    hidden: int = Field(ge=1)

    def tensors(self, model: Model) -> list[Tensor]:
        return [
            Tensor("fc", (self.hidden, model.dim), "matrix", matrix_init(model)),
            Tensor("proj", (model.dim, self.hidden), "matrix", ZEROS),
        ]

    def narrowed(self, ratio: float) -> Self:
        return self.model_copy(update={"hidden": max(1, round(self.hidden * ratio))})

    def flops(self, model: Model) -> int:
        return 2 * 2 * model.dim * self.hidden
