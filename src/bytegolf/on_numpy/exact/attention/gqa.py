"""Exact twin of model.components.gqa."""

from __future__ import annotations

import math

from bytegolf.config.schema import Model
from bytegolf.model.components.gqa import Gqa as Spec
from bytegolf.on_numpy.exact.attention.heads import Heads
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Linear, Tensors
from bytegolf.on_numpy.ops import Floats


class Gqa:
    """One product for queries, keys and values."""

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors) -> None:
        width = math.sqrt(model.dim)
        stored = [tensors[name] for name in ("q", "k", "v")]
        self._joined = Linear(ops, stored, limit=width, clamp=False, norm=width)
        self._heads = Heads(ops, spec, model, tensors, self._joined.row_bounds)
        self._joined.in_units(self._heads.units)
        self.bound = self._heads.bound

    def start(self, lanes: int) -> Memory:
        return self._heads.start(lanes)

    def __call__(self, x_ND: Array, memory: Memory, first: int) -> Array:
        return self._heads(self._joined(x_ND), memory, first)

    def tables(self) -> list[Floats]:
        return self._heads.tables()
