"""A held-out passage, token by token: what each cost, and what the model had expected instead."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Score as Settings
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.model.backend import Backend
from bytegolf.score.bpb import stream_nats
from bytegolf.score.held_out import HeldOut

_BYTES = 700  # about twelve lines of a page
_LEAST_BYTES = 200  # a shorter document is not worth a figure
_MOST_BEFORE = 2048  # tokens of the document before the passage, all of which have to be read
_BEFORE_GUESS = 16  # tokens that tell how the next one reads: a pending capital, a blank that is implied
GUESSES = 5
_SHOWN = {" ": "␣", "\n": "↵", "\t": "⇥"}


@dataclass(frozen=True)
class Guess:
    """p: the model's probability. right: it is what came."""

    text: str
    p: float
    right: bool


@dataclass(frozen=True)
class Token:
    """text: as it stands in the document. name: the same with blanks and ends of lines made visible."""

    text: str
    name: str
    bits: float
    nbytes: int
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Passage:
    """document: its number, from 0. begins: the bytes of it that come before."""

    document: int
    begins: int
    tokens: tuple[Token, ...]

    @property
    def nbytes(self) -> int:
        return sum(token.nbytes for token in self.tokens)

    @property
    def bpb(self) -> float:
        """Of the passage alone."""
        return sum(token.bits for token in self.tokens) / self.nbytes


def read_passage(
    backend: Backend,
    tokenizer: Tokenizer,
    text: HeldOut,
    settings: Settings,
    document_bpb: NDArray[np.float64],
) -> Passage | None:
    """About 700 bytes of the document with the median bits per byte, from a line in its first third on.

    The document is read as `settings` say, from its own beginning on: what a stream would carry over from the
    documents before is not there. None when no document has a byte. Cost: at most 2,048 tokens and the passage.
    """
    counts = tokenizer.byte_counts(text.tokens) if text.counts is None else text.counts
    document = _median(text, counts, document_bpb)
    start, stop = [*text.starts, len(text.tokens)][document : document + 2]
    ids, sizes = text.tokens[start:stop].astype(np.int64), counts[start:stop].astype(np.int64)
    if not sizes.sum():
        return None
    parts = _parts(tokenizer, ids)
    first = _first(parts)
    stop = first + 1
    while stop < len(ids) and sizes[first:stop].sum() < _BYTES:
        stop += 1
    distributions: dict[int, NDArray[np.float64]] = {}
    wanted = range(first - 1, stop - 1)  # target t is token t + 1
    stream_nats(backend, ids[:stop], [0], settings, keep=wanted, see=distributions.__setitem__)
    tokens = tuple(
        _token(tokenizer, ids[: t + 1], int(ids[t + 1]), parts[t + 1], int(sizes[t + 1]), distributions[t])
        for t in wanted
    )
    return Passage(document, int(sizes[:first].sum()), tokens)


def _median(text: HeldOut, counts: NDArray[np.integer], document_bpb: NDArray[np.float64]) -> int:
    """The document to show; without scores of documents the one of median length."""
    sizes = np.add.reduceat(counts.astype(np.int64), text.starts)
    order = document_bpb if len(document_bpb) == len(sizes) else sizes
    long_enough = np.flatnonzero(sizes >= min(_LEAST_BYTES, sizes.max()))
    ranked = sorted(long_enough.tolist(), key=lambda number: (order[number], number))
    return int(ranked[(len(ranked) - 1) // 2])


def _parts(tokenizer: Tokenizer, ids: NDArray[np.int64]) -> list[bytes]:
    """What each token adds to the document; nothing for its BOS."""
    decoder = tokenizer.decoder()
    return [decoder.decode([token]) for token in ids.tolist()]


def _first(parts: list[bytes]) -> int:
    """The token to begin with, at least 1."""
    latest = min(max(1, len(parts) // 3), _MOST_BEFORE)
    after_line = (i for i in range(latest, 0, -1) if i == 1 or parts[i - 1].endswith(b"\n"))
    found = next(after_line)
    return found if latest - found < _MOST_BEFORE // 8 else latest


def _token(
    tokenizer: Tokenizer,
    before: NDArray[np.int64],
    token: int,
    part: bytes,
    nbytes: int,
    p: NDArray[np.float64],
) -> Token:
    def named(guess: int) -> str:
        if guess == tokenizer.bos_id:
            return "end of document"
        decoder = tokenizer.decoder()
        decoder.decode(before[-_BEFORE_GUESS:])
        return visible(decoder.decode([guess]))

    best = np.argsort(-p, kind="stable")[:GUESSES].tolist()
    return Token(
        text=readable(part),
        name=visible(part),
        bits=float(-np.log2(p[token])),
        nbytes=nbytes,
        guesses=tuple(Guess(named(guess), float(p[guess]), guess == token) for guess in best),
    )


def readable(part: bytes) -> str:
    """The characters of some bytes; what is no whole character, or none that shows, as an escape."""
    text = part.decode("utf-8", "backslashreplace")
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] not in "C" else _escaped(c) for c in text)


def visible(part: bytes) -> str:
    """`readable` with marks for blanks, tabs and ends of lines; a mark for nothing at all."""
    return "".join(_SHOWN.get(c, c) for c in readable(part)) or "⇧"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
