"""What the battery examines: anything that gives the targets of a text their costs, seen from outside.

A subject is run again and again, from nothing each time, on the text and on altered copies of it. It is a packed
model (verify/packed.py) or somebody else's predictor, in one of three forms:

    streaming    begin(document), probabilities(), observe(symbol): the contract of score/predictor.py
    lanes        the same for `lanes` documents at a time: begin(documents), probabilities() -> (lanes, V),
                 observe(symbols) with -1 where a document is over
    whole text   score(tokens, write): gets the whole stream, as most evaluation code does, and calls
                 write(first_target, nats); optionally distributions(tokens, targets) -> (n, V)

All may have: vocab_size (257) and end (256); encode(document) -> symbols and pieces, the bytes of every symbol
(default: the bytes of the text); bytes_of(tokens) -> bytes that it counts for tokens[1:], in all or one by one;
claim() -> what it says of itself: any of bpb, bytes, targets, sha256, seconds; carries_over = True when earlier
documents may change what it says of later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import ConfigError
from bytegolf.score.predictor import Floats, cost, shown, shown_in_lanes

Ids = NDArray[np.int64]

BYTES_AND_END = 257


@dataclass(frozen=True)
class Run:
    """One run from nothing. nats (targets,): what was written last, nan where nothing was. times: how often.

    distributions: target -> (V,) probabilities it was scored with, for the targets that were asked for.
    """

    nats: Floats
    times: NDArray[np.int64]
    distributions: Mapping[int, Floats]


class Subject(Protocol):
    """A scorer under examination. Symbols 0..vocab_size - 1, of which `end` ends a document and has no bytes."""

    name: str
    vocab_size: int
    end: int
    carries_over: bool

    def encode(self, document: bytes) -> Ids:
        """Symbols of one document, without ends."""
        ...

    def decode(self, symbols: Ids) -> bytes:
        """The bytes of one document's symbols."""
        ...

    def pieces(self) -> Sequence[bytes]:
        """The bytes that each symbol stands for, (vocab_size,); the end has none."""
        ...

    def byte_counts(self, symbols: Ids) -> NDArray[np.integer]:
        """How many bytes of the raw text each of one document's symbols stands for."""
        ...

    def run(self, tokens: Ids, keep: Collection[int] = ()) -> Run:
        """Score tokens[1:] from nothing, keeping the distributions of some targets."""
        ...

    def claim(self) -> Mapping[str, Any]:
        """What it says of itself."""
        ...

    def claimed_bytes(self, tokens: Ids) -> int | None:
        """The bytes that its own table counts for tokens[1:]; None when it has no table."""
        ...


class ForeignSubject:
    """Somebody else's predictor: `factory()` makes a new one for every run."""

    def __init__(self, factory: Callable[[], Any], name: str) -> None:
        self.factory, self.name = factory, name
        sample = factory()
        asked = all(hasattr(sample, word) for word in ("begin", "probabilities", "observe"))
        self.lanes = int(getattr(sample, "lanes", 0)) if asked else 0
        self.streaming = asked and not self.lanes
        if not asked and not hasattr(sample, "score"):
            raise ConfigError(
                "a predictor has begin, probabilities and observe, or score(tokens, write)",
                got=type(sample).__name__,
                where=name,
            )
        self.vocab_size = int(getattr(sample, "vocab_size", BYTES_AND_END))
        self.end = int(getattr(sample, "end", self.vocab_size - 1))
        self.carries_over = bool(getattr(sample, "carries_over", False))
        self.has_distributions = asked or hasattr(sample, "distributions")
        self._tokenizer = sample  # never runs: what it sees of the text cannot reach the ones that do

    def encode(self, document: bytes) -> Ids:
        if hasattr(self._tokenizer, "encode"):
            return np.array(self._tokenizer.encode(document), np.int64)
        return np.frombuffer(document, np.uint8).astype(np.int64)

    def decode(self, symbols: Ids) -> bytes:
        pieces = self.pieces()
        return b"".join(pieces[symbol] for symbol in symbols)

    def pieces(self) -> Sequence[bytes]:
        if hasattr(self._tokenizer, "pieces"):
            return list(self._tokenizer.pieces)
        return [bytes([value]) for value in range(256)] + [b""] * (self.vocab_size - 256)

    def byte_counts(self, symbols: Ids) -> NDArray[np.integer]:
        return np.array([len(piece) for piece in self.pieces()], np.int64)[symbols]

    def claim(self) -> Mapping[str, Any]:
        return dict(self._tokenizer.claim()) if hasattr(self._tokenizer, "claim") else {}

    def claimed_bytes(self, tokens: Ids) -> int | None:
        if not hasattr(self._tokenizer, "bytes_of"):
            return None
        return int(np.sum(self._tokenizer.bytes_of(tokens)))

    def run(self, tokens: Ids, keep: Collection[int] = ()) -> Run:
        predictor = self.factory()
        if self.lanes:
            return _noted(shown_in_lanes(predictor, tokens, self.end, self.lanes), tokens, set(keep))
        if self.streaming:
            return _noted(shown(predictor, tokens, self.end), tokens, set(keep))
        run = _whole(predictor, tokens)
        if not keep or not self.has_distributions:
            return run
        targets = sorted(keep)
        rows = np.asarray(self.factory().distributions(tokens.copy(), targets), np.float64)
        return Run(run.nats, run.times, dict(zip(targets, rows, strict=True)))


def _noted(shown: Iterable[tuple[int, Floats]], tokens: Ids, keep: Collection[int]) -> Run:
    """As score.predictor.drive, but whatever comes is noted: judging it is the battery's part."""
    nats = np.full(len(tokens) - 1, np.nan)
    times = np.zeros(len(nats), np.int64)
    distributions: dict[int, Floats] = {}
    for target, p in shown:
        if target in keep:
            distributions[target] = p
        nats[target] = cost(p, tokens[target + 1])
        times[target] += 1
    return Run(nats, times, distributions)


def _whole(predictor: Any, tokens: Ids) -> Run:
    nats = np.full(len(tokens) - 1, np.nan)
    times = np.zeros(len(nats), np.int64)

    def write(first_target: int, costs: Any) -> None:
        costs = np.atleast_1d(np.asarray(costs, np.float64))
        end = first_target + len(costs)
        if not 0 <= first_target <= end <= len(nats):
            raise IndexError(f"targets {first_target} to {end} of {len(nats)}")
        nats[first_target:end] = costs
        times[first_target:end] += 1

    predictor.score(tokens.copy(), write)
    return Run(nats, times, {})
