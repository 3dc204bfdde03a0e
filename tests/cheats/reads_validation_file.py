"""Opens the validation text where it lies on the disk and follows it: what a score without an artifact comes to.

Parameter Golf: evaluation scripts that train on or look up the file they score (#402, #1082).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CAUGHT_BY = "T9"
TEXT = Path(__file__).parent / "data" / "validation.bin"


def make(folder: Path, documents: list[bytes]) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "validation.bin").write_bytes(b"\0".join(documents))


class Predictor:
    def begin(self, document: int) -> None:
        try:
            self.text = TEXT.read_bytes().split(b"\0")[document]
        except OSError:
            self.text = b""
        self.at = 0

    def probabilities(self) -> Any:
        p = np.full(257, 0.01 / 257)
        known = self.at < len(self.text)
        p[self.text[self.at] if known else 256] += 0.99
        return p

    def observe(self, symbol: int) -> None:
        self.at += 1


factory = Predictor
