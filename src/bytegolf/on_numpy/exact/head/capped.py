"""What both heads share: logits through a matrix and the softcap, counted in 1/NAT nat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.tables import CAP_REACH, CAP_STEPS, cap_table
from bytegolf.on_numpy.exact.whole import Linear, Stored


class Capped:
    """cap_table[rint(CAP_STEPS z / cap)], z = W x: int64 (L, T, V)."""

    def __init__(self, ops: Ops, model: Model, matrix: Stored, cap: float) -> None:
        width = math.sqrt(model.dim)
        self._ops, self._steps, self._centre = ops, CAP_STEPS / cap, float(CAP_REACH * CAP_STEPS)
        self._z = Linear(ops, [matrix], limit=width, clamp=False, norm=width)
        self._table = ops.array(cap_table(cap))

    def __call__(self, x_LTD: Array) -> Array:
        place = self._ops.rint(self._z(x_LTD) * self._steps) + self._centre
        place = self._ops.clip(place, 0.0, 2.0 * self._centre)  # before it is an integer: it may be beyond int64
        return self._ops.gather(self._table, self._ops.index(place))

    def tables(self) -> list[NDArray[np.int64]]:
        return [self._ops.numpy(self._table)]
