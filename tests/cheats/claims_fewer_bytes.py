"""Logs the size of another file than the one it ships. Parameter Golf: #1835, 16,071,321 and 15,965,718 bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

CAUGHT_BY = "T11"


class Predictor:
    def begin(self, document: int) -> None:
        pass

    def probabilities(self) -> Any:
        return np.full(257, 1 / 257)

    def observe(self, symbol: int) -> None:
        pass

    def claim(self) -> dict[str, Any]:
        return {"artifact_bytes": 100}


factory = Predictor
