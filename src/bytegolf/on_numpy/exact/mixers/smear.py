"""What both smears share: x_t and x_{t-1} blended by a fixed share a channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.ops import Floats


class Smear:
    """now x_t + before x_{t-1} with shares (D,), x_{-1} = 0. With `bos_id` that token passes unchanged."""

    def __init__(self, ops: Ops, now: Floats, before: Floats, bos_id: int | None) -> None:
        self._ops, self._bos_id, self._dim = ops, bos_id, len(now)
        self._now, self._before = ops.array(now), ops.array(before)

    def start(self, lanes: int) -> Memory:
        return Memory(x=self._ops.zeros((lanes, 1, self._dim)))

    def __call__(self, x_ND: Array, ids_LT: NDArray[np.int64], memory: Memory) -> Array:
        x_LTD, before_LTD = x_ND.reshape(*ids_LT.shape, self._dim), memory["x"]
        memory["x"] = self._ops.contiguous(x_LTD[:, -1:])
        if ids_LT.shape[1] > 1:
            before_LTD = self._ops.concat([before_LTD, x_LTD[:, :-1]], axis=1)
        blended_ND = x_ND * self._now + before_LTD.reshape(-1, self._dim) * self._before
        if self._bos_id is None or not (starts_LT := ids_LT == self._bos_id).any():
            return blended_ND
        passes_N1 = self._ops.array(starts_LT.astype(np.float64).reshape(-1, 1))
        return x_ND * passes_N1 + blended_ND * (1.0 - passes_N1)  # one of the two is 0: exact
