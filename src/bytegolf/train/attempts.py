"""The ledger read as runs: what was begun, how it ended, what was made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bytegolf.train.run_ledger import Entry

ENDS = ("finished", "interrupted", "failed")


@dataclass
class Attempt:
    """One run from its start, resumptions included.

    outcome: `finished`, `interrupted`, `failed`, or `no end`: under way or killed. replaced: a later run took its
    directory. packed: the newest file. scores: of every file that was made of it, newest last.
    """

    run: str
    begun: str
    facts: dict[str, Any]
    outcome: str = "no end"
    end: dict[str, Any] = field(default_factory=dict)
    packed: dict[str, Any] | None = None
    scores: list[dict[str, Any]] = field(default_factory=list)
    replaced: bool = False

    @property
    def recipe(self) -> str:
        """The hash of the config."""
        return str(self.facts["config_hash"])

    @property
    def seed(self) -> int:
        return int(self.facts["seed"])

    def newest(self, text: str | None = None) -> dict[str, Any] | None:
        """The last score of any of its files, on any text or on the one with this sha256."""
        found = [score for score in self.scores if text in (None, score.get("text_sha256"))]
        return found[-1] if found else None


def attempts(entries: Iterable[Entry]) -> list[Attempt]:
    """In the order in which they were begun. A run that is resumed without a start in this ledger begins there."""
    found: list[Attempt] = []
    latest: dict[str, Attempt] = {}
    for entry in entries:
        current = latest.get(entry.run)
        if entry.event == "started" or (entry.event == "resumed" and current is None):
            if current is not None:
                current.replaced = True
            current = latest[entry.run] = Attempt(entry.run, entry.time, entry.facts)
            found.append(current)
        elif current is None:
            continue  # packed or scored here, but trained elsewhere
        elif entry.event == "resumed":
            current.outcome, current.end = "no end", {}
        elif entry.event in ENDS:
            current.outcome, current.end = entry.event, entry.facts
        elif entry.event == "packed":
            current.packed = entry.facts
        elif entry.event == "scored":
            current.scores.append(entry.facts)
    return found
