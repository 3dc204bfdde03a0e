"""Exact twin of model.components.relu2."""

from __future__ import annotations

import math

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2 import Relu2 as Spec
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Linear, Tensors, power_of_two

HIDDEN = 128.0  # what is squared is clamped to this where no smaller bound is proven


class Relu2:
    """proj(clip(fc x, 0, limit)^2); the square is one IEEE multiplication."""

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors) -> None:
        self._ops, width = ops, math.sqrt(model.dim)
        self._fc = Linear(ops, [tensors["fc"]], limit=width, clamp=False, norm=width)
        self._limit = power_of_two(min(self._fc.bound, HIDDEN))
        self._proj = Linear(ops, [tensors["proj"]], limit=self._limit * self._limit, clamp=False)
        self.bound = self._proj.bound

    def __call__(self, x_ND: Array) -> Array:
        hidden = self._ops.clip(self._fc(x_ND), 0.0, self._limit)
        return self._proj(hidden * hidden)
