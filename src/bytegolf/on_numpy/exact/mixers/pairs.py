"""What both tables of token pairs share: the token before, and a row of the table through a matrix."""

from __future__ import annotations

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
    """proj table[bucket]; |result| <= bound."""

    def __init__(self, ops: Ops, table: Stored, proj: Stored) -> None:
        self._ops = ops
        self._table = ops.array(table.values())
        self._proj = Linear(ops, [proj], limit=table.largest(), clamp=False)
        self.bound = self._proj.bound

    def __call__(self, bucket_N: NDArray[np.int64]) -> Array:
        return self._proj(self._ops.rows(self._table, bucket_N))
