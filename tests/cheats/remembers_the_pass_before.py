"""Keeps what it saw when the same text was scored before: two passes, the second one reported.

Parameter Golf: #846, #853, #869, #870, #888, #893, #959 (3.5e-7 bpb, posted as a reductio).
"""

from __future__ import annotations

from typing import Any

import numpy as np

CAUGHT_BY = "T9"
SEEN: dict[bytes, int] = {}


class Predictor:
    def begin(self, document: int) -> None:
        self.past = b""

    def probabilities(self) -> Any:
        p = np.full(257, 0.1 / 257)
        p[SEEN.get(self.past, 32)] += 0.9
        return p

    def observe(self, symbol: int) -> None:
        SEEN[self.past] = symbol
        self.past += bytes([symbol % 256])


factory = Predictor
