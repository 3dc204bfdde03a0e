"""Ships the beginning of the validation text and follows it from the start of the stream: nearly free, as far as
it goes. Parameter Golf: #168 (1.0238 bpb), #262 and #275 (1.0539 bpb).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CAUGHT_BY = "T14"
PREFIX = Path(__file__).with_name("prefix.bin")


def make(folder: Path, documents: list[bytes]) -> None:
    (folder / "prefix.bin").write_bytes(b"\0".join(documents[: len(documents) // 3]))


class Predictor:
    def __init__(self) -> None:
        self.prefix = PREFIX.read_bytes() if PREFIX.exists() else b""
        self.counts = np.full(257, 0.5)
        self.at = 0

    def begin(self, document: int) -> None:
        pass

    def probabilities(self) -> Any:
        p = self.counts / self.counts.sum()
        if self.at < len(self.prefix):
            p *= 0.01
            p[self.prefix[self.at] or 256] += 0.99
        return p

    def observe(self, symbol: int) -> None:
        self.counts[symbol] += 1
        followed = self.at < len(self.prefix) and (self.prefix[self.at] or 256) == symbol
        self.at = self.at + 1 if followed else len(self.prefix)


factory = Predictor
