"""Looks for the text in the memory of the process that holds it. No published case: the scorer held it itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

CAUGHT_BY = "T9"


class Predictor:
    def __init__(self) -> None:
        try:
            with open(f"/proc/{os.getppid()}/mem", "rb"):
                pass
        except OSError:
            pass

    def begin(self, document: int) -> None:
        pass

    def probabilities(self) -> Any:
        return np.full(257, 1 / 257)

    def observe(self, symbol: int) -> None:
        pass


factory = Predictor
