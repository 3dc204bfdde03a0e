"""The form of a check and of what it finds. Each file of checks lists its own; the battery runs them in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bytegolf.verify.subject import Ids, Subject

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

    documents: the raw text that is claimed, document by document; sample: how many symbols a run may take (None:
    all of them, `--full`). train: the training text, where it is at hand; hidden: text nobody published.
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

    def stream(self, limit: int | None = None) -> Ids:
        """Symbols of the documents, an `end` before each; whole documents, about `limit` symbols."""
        limit = self.sample if limit is None else limit
        parts: list[Ids] = []
        size = 0
        for document in self.documents:
            part = np.concatenate(([self.subject.end], self.subject.encode(document)))
            if limit is not None and size + len(part) > limit:
                if not parts:
                    parts.append(part[:limit])
                break
            parts.append(part)
            size += len(part)
        return np.concatenate(parts)

    def random(self, salt: str) -> np.random.Generator:
        """A stream of random numbers that depends on the seed and on who asks."""
        return np.random.default_rng([self.seed, *salt.encode()])


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
