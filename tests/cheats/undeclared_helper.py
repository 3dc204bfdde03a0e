"""Half of the model lies in a file beside the one that is counted. Parameter Golf: #1412, 78 KB uncounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CAUGHT_BY = "T11"
HELPER = Path(__file__).with_name("helper.bin")


def make(folder: Path, documents: list[bytes]) -> None:
    counts = np.bincount(np.frombuffer(b"".join(documents), np.uint8), minlength=257) + 0.5
    (folder / "helper.bin").write_bytes((counts / counts.sum()).tobytes())


class Predictor:
    def __init__(self) -> None:
        self.p = np.frombuffer(HELPER.read_bytes())

    def begin(self, document: int) -> None:
        pass

    def probabilities(self) -> Any:
        return self.p

    def observe(self, symbol: int) -> None:
        pass


factory = Predictor
