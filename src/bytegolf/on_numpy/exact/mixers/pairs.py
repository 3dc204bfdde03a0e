"""What both tables of token pairs share: the token before, and a row of the table through a matrix."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Linear, Stored


def previous(ids_LT: NDArray[np.int64], memory: Memory) -> NDArray[np.int64]:
    """The token before each token, -1 before the first of a row; remembers the last one."""
    before_LT = np.concatenate((memory["previous"][:, None], ids_LT[:, :-1]), axis=1)
    memory["previous"] = ids_LT[:, -1]
    return before_LT


class PairTable:
    """scale proj table[bucket], worked out for every bucket when a model is loaded; |result| <= bound."""

    def __init__(self, ops: Ops, table: Stored, proj: Stored, scale: float) -> None:
        self._ops = ops
        linear = Linear(ops, [proj], limit=table.largest(), clamp=False)
        self._rows = linear(ops.array(table.values())) * scale
        self.bound = math.fabs(scale) * linear.bound

    def __call__(self, bucket_N: NDArray[np.int64]) -> Array:
        return self._ops.rows(self._rows, bucket_N)
