"""Gated squared-ReLU MLP (PR 354, where it is called "SmearGate MLP"; it smears nothing)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Component, Tensor, matrix_init


class Relu2Glu(Component):
    """out = proj(relu(gate x)^2 * (up x)); the projection starts at zero.

    A hidden unit has 3 D weights; that of `relu2` has 2 D. `gate` is a matrix of the MLP, no gate in the sense of
    the roles: its role is matrix.
    """

    kind: Literal["relu2_glu"]
    hidden: int = Field(ge=1)

    def tensors(self, model: Model) -> list[Tensor]:
        init = matrix_init(model)
        return [
            Tensor("gate", (self.hidden, model.dim), "matrix", init),
            Tensor("up", (self.hidden, model.dim), "matrix", init),
            Tensor("proj", (model.dim, self.hidden), "matrix", ZEROS),
        ]

    def narrowed(self, ratio: float) -> Self:
        return self.model_copy(update={"hidden": max(1, round(self.hidden * ratio))})

    def flops(self, model: Model) -> int:
        return 3 * 2 * model.dim * self.hidden
