"""Layers with U-Net skips (PG baseline): the second half receives the outputs of the first, last one first."""

from __future__ import annotations

from typing import Literal

from bytegolf.config.schema import Model
from bytegolf.model.spec import ONES, Plan, Skip, Step, Tensor


class Unet(Plan):
    """With n = L // 2, layer n + j adds skips[j] * (output of layer n - 1 - j) for j < n; an odd last layer none.

    The first of them adds its own input, so at the start it doubles the stream; the published systems do so.
    """

    kind: Literal["unet"]

    def steps(self, model: Model) -> list[Step]:
        half = model.layers // 2
        first = [Step(layer) for layer in range(half)]
        second = [
            Step(half + j, Skip(j, half - 1 - j) if j < half else None) for j in range(model.layers - half)
        ]
        return first + second

    def tensors(self, model: Model) -> list[Tensor]:
        half = model.layers // 2
        return [Tensor("skips", (half, model.dim), "scalar", ONES)] if half else []

    def flops(self, model: Model) -> int:
        return 2 * model.dim * (model.layers // 2)
