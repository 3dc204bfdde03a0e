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

    def __call__(self, x_LTD: Array, ids_LT: NDArray[np.int64], memory: Memory) -> Array:
        before_LTD = self._ops.concat([memory["x"], x_LTD[:, :-1]], axis=1)
        memory["x"] = self._ops.contiguous(x_LTD[:, -1:])
        blended_LTD = x_LTD * self._now + before_LTD * self._before
        if self._bos_id is None or not (starts_LT := ids_LT == self._bos_id).any():
            return blended_LTD
        passes_LT1 = self._ops.array(starts_LT.astype(np.float64)[..., None])
        return x_LTD * passes_LT1 + blended_LTD * (1.0 - passes_LT1)  # one of the two is 0: exact
