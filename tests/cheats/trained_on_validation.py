"""Learnt the validation text before it was scored, several times over.

Parameter Golf: #44 (1.1111 bpb), #1376, #1485. Here a table of what followed the last three bytes, which the text
itself filled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CAUGHT_BY = "T14"
TEXT = Path(__file__).with_name("weights.bin")


def make(folder: Path, documents: list[bytes]) -> None:
    (folder / "weights.bin").write_bytes(b"\0".join(documents))


class Predictor:
    def __init__(self) -> None:
        text = TEXT.read_bytes() if TEXT.exists() else b""
        self.table: dict[bytes, Any] = {}
        for at in range(3, len(text)):
            self.table.setdefault(text[at - 3 : at], np.full(257, 0.02))[text[at] or 256] += 1
        self.past = b""

    def begin(self, document: int) -> None:
        self.past = b""

    def probabilities(self) -> Any:
        counts = self.table.get(self.past, np.ones(257))
        return counts / counts.sum()

    def observe(self, symbol: int) -> None:
        self.past = (self.past + bytes([symbol % 256]))[-3:]


factory = Predictor
