"""Messages between the referee and the clean room: one letter, a length, then the bytes. No pickle.

J  a JSON object        N  float64 numbers        I  int64 numbers
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct("<cQ")
_LARGEST = 1 << 34  # a length beyond this is noise on the wire, not a message


class Wire:
    """Both directions of one connection. Raises EOFError when the other side is gone."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        self._read, self._write = read, write

    def send(self, message: Mapping[str, Any] | NDArray[np.float64] | NDArray[np.int64]) -> None:
        if isinstance(message, Mapping):
            letter, payload = b"J", json.dumps(message).encode()
        else:
            letter = b"N" if message.dtype == np.float64 else b"I"
            payload = message.tobytes()
        try:
            self._write.write(_HEAD.pack(letter, len(payload)) + payload)
            self._write.flush()
        except (BrokenPipeError, ValueError) as error:
            raise EOFError("the other side is gone") from error

    def receive(self) -> Any:
        """A dict, or an array of float64 or int64 with one dimension."""
        letter, length = _HEAD.unpack(self._exactly(_HEAD.size))
        if letter not in b"JNI" or length > _LARGEST:
            raise EOFError(f"no message: {letter!r} {length}")
        payload = self._exactly(length)
        if letter == b"J":
            return json.loads(payload)
        return np.frombuffer(payload, np.float64 if letter == b"N" else np.int64)

    def _exactly(self, count: int) -> bytes:
        data = self._read.read(count)
        if len(data) != count:
            raise EOFError("the other side is gone")
        return data
