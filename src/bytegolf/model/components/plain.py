"""Layers in order, once each, without skips."""

from __future__ import annotations

from typing import Literal

from bytegolf.config.schema import Model
from bytegolf.model.spec import Plan, Step, Tensor


class Plain(Plan):
    """Layer 0, 1, ..., L - 1."""

    kind: Literal["plain"]

    def steps(self, model: Model) -> list[Step]:
        return [Step(layer) for layer in range(model.layers)]

    def tensors(self, model: Model) -> list[Tensor]:
        return []

    def flops(self, model: Model) -> int:
        return 0
