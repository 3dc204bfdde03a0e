"""T11: the bytes that ship, measured on the disk and not taken from what a log says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bytegolf.artifact import format as golf
from bytegolf.artifact.ledger import ledger
from bytegolf.errors import ArtifactError
from bytegolf.verify.check import Case, Check, Outcome
from bytegolf.verify.clean_run import clean_run, shipped_files


def undeclared_files(case: Case) -> dict[Path, int]:
    """Sizes of the files that the subject wanted in the clean room, that are there, and that nobody declared.

    Those of Python and of installed packages are free. Without a clean room none is known.
    """
    if case.in_clean_room is None:
        return {}
    wanted = [Path(what) for kind, what in clean_run(case).violations if kind == "read"]
    return {path: path.stat().st_size for path in wanted if path.is_file()}


def _size(case: Case) -> Outcome:
    """T11."""
    declared = {path: path.stat().st_size for path in shipped_files(case)}
    others = undeclared_files(case)
    total = sum(declared.values()) + sum(others.values())
    if not declared:
        return Outcome.skipped("no files were declared")
    claimed = case.subject.claim().get("artifact_bytes")
    figures: dict[str, Any] = {
        "bytes": total,
        "budget": case.budget,
        "claimed_bytes": claimed,
        "files": {str(path): size for path, size in declared.items()},
        "undeclared": {str(path): size for path, size in others.items()},
    }
    troubles = []
    if case.budget is not None and total > case.budget:
        troubles.append(f"{total - case.budget:,} bytes over the budget of {case.budget:,}")
    if claimed is not None and int(claimed) != total:
        troubles.append(f"it claims {int(claimed):,}")
    if others:
        names = ", ".join(f"{path.name} ({size:,})" for path, size in others.items())
        troubles.append(f"it wants files that were not declared: {names}")
    if (case.in_clean_room or {}).get("kind") == "artifact":
        troubles += _bookkeeping(Path((case.in_clean_room or {})["path"]))
    count = len(declared) + len(others)
    measured = f"{total:,} bytes in {count} file{'s' if count > 1 else ''}"
    if case.budget is not None and total <= case.budget:
        measured += f", {case.budget - total:,} to spare"
    return Outcome.of(not troubles, "; ".join([measured, *troubles]), **figures)


def _bookkeeping(path: Path) -> list[str]:
    """What is wrong when every byte of an artifact must have its line in the ledger."""
    try:
        accounted = ledger(golf.read(path)).total
    except ArtifactError as error:
        return [str(error).replace("\n  -> ", "; ")]
    size = path.stat().st_size
    return [] if accounted == size else [f"its ledger accounts for {accounted:,} bytes of {size:,}"]


CHECKS = [
    Check(
        "T11",
        "size of what ships",
        "all that the subject reads beside Python and installed packages fits the budget and is what it claims",
        _size,
    )
]
