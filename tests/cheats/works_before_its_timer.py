"""Does the slow part before its own clock starts. Parameter Golf: #889 and #915 (895 s + 102 s), #2121 (733 s)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

CAUGHT_BY = "T10"


class Predictor:
    def begin(self, document: int) -> None:
        if document == 0:
            time.sleep(1.2)
            self.began = time.monotonic()

    def probabilities(self) -> Any:
        return np.full(257, 1 / 257)

    def observe(self, symbol: int) -> None:
        pass

    def claim(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self.began if hasattr(self, "began") else 0.0}


factory = Predictor
