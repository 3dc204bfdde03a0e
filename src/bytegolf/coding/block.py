"""A block: the unit that is coded on its own, so that blocks can be coded side by side and read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bytegolf.errors import UserError

Report = Callable[[int], None]


def nothing(tokens: int) -> None:
    """A report that goes nowhere."""


class StreamError(UserError):
    """A compressed file that is damaged, truncated, altered, or made with another model."""


@dataclass(frozen=True)
class Text:
    """Raw bytes of one block. starts: offsets > 0, ascending, where a new document begins inside it."""

    data: bytes
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Coded:
    """One block as the range coder left it. bits: sum of -log2 of the integer frequencies, what it had to cost."""

    tokens: int
    payload: bytes
    bits: float = 0.0


def even(items: int, pieces: int) -> list[int]:
    """The lengths of `pieces` pieces that `items` are cut into; they differ by one at most."""
    return [items * (i + 1) // pieces - items * i // pieces for i in range(pieces)]


class BlockCoder(Protocol):
    """Texts <-> payloads, several at a time: lane i holds block i, and all lanes go through the model together.

    What a lane gives depends on nothing but its own text: neither on the other lanes nor on their number.
    """

    def encode(self, texts: Sequence[Text], report: Report = nothing) -> list[Coded | None]:
        """One Coded a text, or None for one that is better stored as it is. `report` gets tokens done since."""

    def decode(self, blocks: Sequence[Coded], report: Report = nothing) -> list[bytes | None]:
        """The raw bytes of each block; None for a payload that no encoder wrote, found out on the way.

        Other damage shows in the checksum of the bytes, which the caller has.
        """
