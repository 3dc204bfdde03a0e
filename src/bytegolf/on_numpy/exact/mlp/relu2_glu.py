"""Exact twin of model.components.relu2_glu."""

from __future__ import annotations

import math

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2_glu import Relu2Glu as Spec
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Linear, Tensors, power_of_two

HIDDEN = 64.0  # gate and up are clamped to this where no smaller bound is proven


class Relu2Glu:
    """proj(clip(gate x, 0, limit)^2 * clip(up x, -limit, limit)): IEEE multiplications between the matrices."""

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors) -> None:
        self._ops, width, self._hidden = ops, math.sqrt(model.dim), spec.hidden
        joined = [tensors["gate"], tensors["up"]]
        self._joined = Linear(ops, joined, limit=width, clamp=False, norm=width)
        rows = self._joined.row_bounds
        self._gate = power_of_two(min(float(rows[: spec.hidden].max(initial=0.0)), HIDDEN))
        self._up = power_of_two(min(float(rows[spec.hidden :].max(initial=0.0)), HIDDEN))
        most = self._gate * self._gate * self._up
        self._proj = Linear(ops, [tensors["proj"]], limit=most, clamp=False)
        self.bound = self._proj.bound

    def __call__(self, x_ND: Array) -> Array:
        joined = self._joined(x_ND)
        gate = self._ops.clip(joined[:, : self._hidden], 0.0, self._gate)
        up = self._ops.clip(joined[:, self._hidden :], -self._up, self._up)
        return self._proj(gate * gate * up)
