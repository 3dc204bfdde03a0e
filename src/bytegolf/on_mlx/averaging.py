"""Averages of the weights along the run, in float32 like the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Averaging, NoAveraging
from bytegolf.model.averaging import least_snapshots, share, takes_snapshot
from bytegolf.on_mlx.gpt import Gpt


class Averager:
    """A running average of `count` snapshots: avg <- avg + s (w - avg). Without averaging it takes none."""

    def __init__(self, gpt: Gpt, config: Averaging) -> None:
        self.gpt, self.config, self.count = gpt, config, 0
        self.average: dict[str, mx.array] = {}

    def after_step(self, multiplier: float, step: int) -> None:
        """`step` counts from 0; `multiplier` is the learning-rate multiplier it had."""
        if isinstance(self.config, NoAveraging) or not takes_snapshot(self.config, multiplier, step):
            return
        s, weights = share(self.config, self.count), self.gpt.named()
        self.average = {
            n: self.average[n] + s * (w - self.average[n]) if self.count else w for n, w in weights.items()
        }
        self.count += 1

    def use(self) -> bool:
        """Put the average in place of the last weights; False when there is none, and they stay."""
        if isinstance(self.config, NoAveraging) or self.count < least_snapshots(self.config):
            return False
        self.gpt.take(self.average)
        return True

    def state(self) -> dict[str, NDArray[Any]]:
        """The average of every tensor by its name, and how many went into it; zeros before the first."""
        if isinstance(self.config, NoAveraging):
            return {}
        held = self.average or {name: mx.zeros_like(w) for name, w in self.gpt.named().items()}
        return {"count": np.array(self.count), **{name: np.array(value) for name, value in held.items()}}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` gave, here or on torch."""
        if isinstance(self.config, NoAveraging):
            assert not state, "this run keeps no average"
            return
        assert state.keys() == {"count", *self.gpt.named()}, "an average of other tensors"
        self.count = int(state["count"])
        self.average = {name: mx.array(state[name]) for name in state if name != "count"}
