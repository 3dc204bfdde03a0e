"""The other runs of a config: a record says of each why it is not in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bytegolf.config.recipe import config_hash
from bytegolf.errors import RunError
from bytegolf.record.evidence import SeedResult
from bytegolf.record.submission import Sibling
from bytegolf.train.attempts import Attempt, attempts
from bytegolf.train.run_ledger import read_ledger


def siblings(results: Sequence[SeedResult], reasons: Mapping[str, str]) -> list[Sibling]:
    """Runs in the ledgers of the results' folders that have their config and data and are not among them.

    reasons: name of a run -> why it is left out. Raises RunError for a damaged ledger, for a run with a score that
    nobody gave a reason for, and for a reason that belongs to no such run.
    """
    first = results[0].run
    wanted = (config_hash(first.config), first.summary["data"]["train_sha256"])
    found: list[Sibling] = []
    silent: list[str] = []
    for folder in dict.fromkeys(result.run.path.resolve().parent for result in results):
        inside = {
            result.run.path.resolve().name for result in results if result.run.path.resolve().parent == folder
        }
        for attempt in attempts(read_ledger(folder)):
            if (attempt.recipe, attempt.facts["data"]["train_sha256"]) != wanted:
                continue
            if attempt.run in inside and not attempt.replaced:
                continue
            why = reasons.get(attempt.run) or _why(attempt)
            if why is None:
                silent.append(f"{attempt.run} (seed {attempt.seed})")
            else:
                score = attempt.newest()
                found.append(Sibling(attempt.run, attempt.seed, None if score is None else score["bpb"], why))
    _check(silent, reasons, found, folder=results[0].run.path.parent)
    return found


def _why(attempt: Attempt) -> str | None:
    """A reason that the ledger itself gives; None where there is a score."""
    if attempt.outcome == "failed":
        return f"failed: {attempt.end.get('error')}"
    if attempt.outcome == "no end":
        return "was killed, or is under way"
    if attempt.outcome == "interrupted":
        return "was interrupted"
    if not attempt.scores:
        return "has no score"
    return None


def _check(silent: Sequence[str], reasons: Mapping[str, str], found: Sequence[Sibling], folder: Path) -> None:
    if silent:
        raise RunError(
            "a run of the same config with a score is in the record, or there is a reason",
            got=f"left out: {', '.join(silent)}",
            where=folder,
            fix="add it to the runs, or say why not: --leave-out NAME=WHY",
        )
    if unknown := sorted(set(reasons) - {sibling.name for sibling in found}):
        raise RunError(
            "a reason belongs to a run of the same config that is left out",
            got=f"--leave-out {unknown[0]}=...",
            where=folder,
            fix="see `bytegolf runs list`",
        )
