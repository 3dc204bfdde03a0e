"""Asks a service for help, and does without when there is none. No published case: the rules forbade it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import numpy as np

CAUGHT_BY = "T9"


class Predictor:
    def __init__(self) -> None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.2).close()

    def begin(self, document: int) -> None:
        pass

    def probabilities(self) -> Any:
        return np.full(257, 1 / 257)

    def observe(self, symbol: int) -> None:
        pass


factory = Predictor
