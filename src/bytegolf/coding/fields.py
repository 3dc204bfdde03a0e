"""The fields of a .golfz file: numbers as bytes and back, and a source that is read exactly."""

from __future__ import annotations

from typing import Protocol

from bytegolf.coding.block import StreamError

_PIECE = 64 << 10
_SHIFT_BITS = 5
_LARGEST_HALF = 1 << 31
_LONGEST_VARINT = 9


class Source(Protocol):
    """What is read: a file, a pipe, a BytesIO."""

    def read(self, size: int = -1, /) -> bytes: ...
    def seekable(self) -> bool: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


def varint(number: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, the lowest first, bit 7 set on all but the last."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def zigzag(number: int) -> int:
    """0, -1, 1, -2, 2 ... -> 0, 1, 2, 3, 4 ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def from_zigzag(number: int) -> int:
    return number >> 1 if number & 1 == 0 else -(number + 1 >> 1)


def round_number(number: int) -> int:
    """A number >= 1 that is mostly a power of two: 32 ((odd part - 1) / 2) + trailing zero bits; 2^k is just k."""
    zeros = (number & -number).bit_length() - 1
    return number >> zeros + 1 << _SHIFT_BITS | zeros


def from_round_number(value: int) -> int:
    """Raises ValueError for a number that is larger than any that a header has."""
    zeros, half = value & (1 << _SHIFT_BITS) - 1, value >> _SHIFT_BITS
    if half >= _LARGEST_HALF:
        raise ValueError(f"a round number of {half}")
    return (2 * half + 1) << zeros


class Fields:
    """A source, read front to back. `part` says in errors what is being read.

    Raises StreamError where the source ends too early and for a number that no writer writes.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._can_seek = source.seekable()
        self.position = 0

    def take(self, size: int, part: str) -> bytes:
        """Just `size` bytes. No more is allocated than twice what has come, plus a piece of 64 KiB."""
        parts, have = [], 0
        while have < size:
            parts.append(self._source.read(min(size - have, _PIECE)))
            have += len(parts[-1])
            if not parts[-1]:
                raise StreamError(f"{part}: the file is truncated inside it")
        self.position += size
        return b"".join(parts)

    def skip(self, size: int, part: str) -> None:
        """Go behind the next `size` bytes. In a file nothing is read: a cut shows at the next record."""
        if self._can_seek:
            self._source.seek(size, 1)
            self.position += size
            return
        while size:
            size -= len(self.take(min(size, _PIECE), part))

    def varint(self, part: str, first: bytes | None = None) -> tuple[int, bytes]:
        """A number below 2^63 and its bytes. `first`: its first byte, where that was read already."""
        data = first or self.take(1, part)
        number = data[0] & 0x7F
        while data[-1] & 0x80:
            if len(data) == _LONGEST_VARINT:
                raise StreamError(f"{part} is damaged: a number is too large")
            data += self.take(1, part)
            number |= (data[-1] & 0x7F) << 7 * (len(data) - 1)
        if len(data) > 1 and data[-1] == 0:
            raise StreamError(f"{part} is damaged: a number is longer than it must be")
        return number, data

    def more(self) -> bytes:
        """The next byte, or nothing at the end."""
        data = self._source.read(1)
        self.position += len(data)
        return data
