"""What both heads share: logits through a matrix and the softcap, counted in 1/NAT nat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.tables import CAP_REACH, CAP_STEPS, cap_table
from bytegolf.on_numpy.exact.whole import Linear, Stored

CAPS = (2.0**-10, 2.0**20)  # beyond, the steps of the table would be no floats or its entries no int64


class Capped:
    """cap_table[rint(CAP_STEPS z / cap)], z = W x: int64 (N, V)."""

    def __init__(self, ops: Ops, model: Model, matrix: Stored, cap: float) -> None:
        if not CAPS[0] <= cap <= CAPS[1]:
            limits = f"at least {CAPS[0]:g} and at most {CAPS[1]:,.0f}"
            raise ConfigError(f"exact logits need a softcap of {limits}", got=cap, where="model.head.softcap")
        width = math.sqrt(model.dim)
        self._ops, self._steps, self._centre = ops, CAP_STEPS / cap, float(CAP_REACH * CAP_STEPS)
        self._z = Linear(ops, [matrix], limit=width, clamp=False, norm=width)
        self._clips = self._z.bound * self._steps > 2.0**60  # what is no int64 finds no end of the table
        self._table = ops.array(cap_table(cap))

    def __call__(self, x_ND: Array) -> Array:
        place = self._ops.rint(self._z(x_ND) * self._steps) + self._centre
        if self._clips:
            place = self._ops.clip(place, 0.0, 2.0 * self._centre)
        return self._ops.gather(self._table, self._ops.index(place))

    def tables(self) -> list[NDArray[np.int64]]:
        return [self._ops.numpy(self._table)]
