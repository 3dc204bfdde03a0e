"""The form of a check and of what it finds. Each file of checks lists its own; the battery runs them in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bytegolf.score.predictor import Floats
from bytegolf.verify.subject import Ids, Run, Subject

# A sample is spread over this many documents, so that it has borders between documents.
SAMPLED_DOCUMENTS = 8
# Costs that differ by less are the same, nats a target. float32 sums differ by 1e-6 between shapes of batches.
SAME = 1e-3

Status = Literal["pass", "fail", "not run"]


@dataclass(frozen=True)
class Outcome:
    """status, one line of what was measured or why the check was not run, and the figures behind it."""

    status: Status
    measured: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(passed: bool, measured: str, **figures: Any) -> Outcome:
        return Outcome("pass" if passed else "fail", measured, figures)

    @staticmethod
    def skipped(reason: str) -> Outcome:
        return Outcome("not run", reason)


@dataclass(frozen=True)
class Case:
    """Everything the checks may use.

    documents: the raw text that is claimed, document by document. sample: about how many symbols a run takes; None
    means all of them. train: the training text, where it is at hand; hidden: text nobody published.
    files: the submission as it ships; budget: the bytes it may have; seconds: what scoring all of it may take.
    in_clean_room: what a child process needs to build the subject again, see verify/clean_room.py.
    """

    subject: Subject
    documents: Sequence[bytes]
    seed: int = 1
    sample: int | None = 4096
    train: Sequence[bytes] | None = None
    hidden: Sequence[bytes] | None = None
    files: Sequence[Path] = ()
    budget: int | None = None
    seconds: float | None = None
    in_clean_room: Mapping[str, Any] | None = None

    @cached_property
    def sampled(self) -> list[bytes]:
        """The beginnings of some documents, seeded, in their order; all documents when nothing is sampled."""
        if self.sample is None:
            return list(self.documents)
        count = min(SAMPLED_DOCUMENTS, len(self.documents))
        chosen = sorted(self.random("documents").choice(len(self.documents), count, replace=False))
        # Different lengths, since a scorer that goes by the length of documents shows only then.
        symbols = self.sample / count * self.random("lengths").uniform(0.4, 1.6, count)
        parts = []
        for wanted, document in zip(symbols, (self.documents[i] for i in chosen), strict=True):
            share = wanted / max(1, len(self.subject.encode(document)))
            parts.append(document[: max(1, round(share * len(document)))])
        return parts

    @cached_property
    def tokens(self) -> Ids:
        """The stream of the sampled documents."""
        return self.stream(self.sampled)

    @cached_property
    def base(self) -> Run:
        """The run on `tokens` that altered runs are compared with."""
        return self.subject.run(self.tokens)

    def stream(self, documents: Sequence[bytes]) -> Ids:
        """Symbols of documents, an `end` before each."""
        parts = [np.concatenate(([self.subject.end], self.subject.encode(d))) for d in documents]
        return np.concatenate(parts).astype(np.int64)

    def random(self, salt: str) -> np.random.Generator:
        """A stream of random numbers that depends on the seed and on who asks."""
        return np.random.default_rng([self.seed, *salt.encode()])


def largest_difference(a: Floats, b: Floats) -> float:
    """The largest |a - b|; two costs that are no numbers are equal, one is infinitely far, as are other shapes."""
    if a.shape != b.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))


@dataclass(frozen=True)
class Check:
    """id ("T1"), a name, the sentence that it proves, and how."""

    id: str
    name: str
    proves: str
    run: Callable[[Case], Outcome]


@dataclass(frozen=True)
class Finding:
    """One check and its outcome."""

    id: str
    name: str
    proves: str
    status: Status
    measured: str
    figures: Mapping[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
