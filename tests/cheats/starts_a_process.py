"""Leaves the work to another program, whose bytes and seconds nobody counts, as lrzip was in Parameter Golf."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import Any

import numpy as np

CAUGHT_BY = "T9"


class Predictor:
    def begin(self, document: int) -> None:
        with suppress(OSError):
            subprocess.run(["true"], check=False)

    def probabilities(self) -> Any:
        return np.full(257, 1 / 257)

    def observe(self, symbol: int) -> None:
        pass


factory = Predictor
