"""A block coder without a model, which can be slow, wrong, greedy, or die: for the frames around the real one.

Kept apart from the tests, since worker processes import it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np  # a matrix library to be held to one thread
import threadpoolctl

from bytegolf.coding.block import Coded, Report, Text, nothing
from bytegolf.errors import UserError

WEIGHTS = np.eye(2) @ np.eye(2)
GOLF = b"\x89GOLF not a model at all"


@dataclass(frozen=True)
class Fake:
    """The recipe and the coder: zlib, one token for three bytes and one for each further document.

    trouble: what goes wrong, and when: in a block that holds `at`. An empty `at` is in every block.
    """

    trouble: str = ""
    at: bytes = b""
    seconds: float = 0.0
    note: str = ""
    golf: bytes = GOLF
    version: int = 1
    context: int = 8192
    stride: int = 1024

    @property
    def model(self) -> bytes:
        return hashlib.sha256(self.golf).digest()

    @property
    def identity(self) -> bytes:
        process = str(os.getpid()) if self.trouble == "identities" else ""
        return hashlib.sha256(self.model + bytes([self.version]) + process.encode()).digest()

    def build(self) -> Fake:
        if self.trouble == "no build":
            raise ValueError("there is nothing to build")
        if self.trouble == "threads":
            threadpoolctl.threadpool_limits(2)  # whatever the environment says
        return self

    def encode(self, texts: Sequence[Text], report: Report = nothing) -> list[Coded | None]:
        return [self._encode(text, report) for text in texts]

    def _encode(self, text: Text, report: Report) -> Coded | None:
        assert list(text.starts) == sorted(set(text.starts))
        assert all(0 < start < len(text.data) for start in text.starts)
        if self.at in text.data and self._troubled() == "none":
            return None
        tokens = -(-len(text.data) // 3) + len(text.starts)
        for _ in range(10 if self.seconds else 1):
            time.sleep(self.seconds / 10)
            report(tokens // 10)
        payload = zlib.compress(text.data, 9)
        return Coded(tokens, payload, 8.0 * len(payload))

    def decode(self, blocks: Sequence[Coded], report: Report = nothing) -> list[bytes | None]:
        return [self._decode(block, report) for block in blocks]

    def _decode(self, block: Coded, report: Report) -> bytes | None:
        self._troubled()
        time.sleep(self.seconds)
        unpacker = zlib.decompressobj()
        try:  # as a decoder of tokens is bounded by their number, so is this one
            data = unpacker.decompress(block.payload, 3 * block.tokens + 1)
        except zlib.error:
            return None
        report(block.tokens)
        return data

    def _troubled(self) -> str:
        if self.note:
            with Path(self.note).open("a") as file:
                file.write(f"{os.getpid()}\n")
        match self.trouble:
            case "raise":
                raise ValueError("this coder cannot")
            case "refuse":
                raise UserError("the coder refuses", got=b"line", where="the text", fix="another text")
            case "threads":
                pools = threadpoolctl.threadpool_info()
                assert all(pool["num_threads"] == 1 for pool in pools), pools
            case "memory":
                raise MemoryError
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "interrupt":
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(60)
        return self.trouble
