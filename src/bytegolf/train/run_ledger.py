"""Every run of a folder, as it happened: FOLDER/ledger.jsonl, append-only and chained by hashes.

Each line is a JSON object with `previous`, the sha256 of the line before it (zeros for the first), `time`, `run`,
`event` and what belongs to the event. So a line cannot be altered, removed or moved without all later lines being
written anew. The last lines could be cut off unnoticed; against that every run directory has the digest of its own
latest line (ledger.json), which must be in the chain. Who removes both a run directory and the end of the ledger,
or writes the whole chain anew, is not found out: the ledger shows what was done, it is no notary.

started, resumed   config_hash, config (its name), seed, data, processes, host, version, commit (of the checkout)
finished, interrupted, failed    steps, seconds, or the error
packed             artifact_bytes, artifact_sha256
scored             bpb, text_sha256, text_bytes, artifact_sha256, score (its settings)
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bytegolf import __version__
from bytegolf.errors import RunError
from bytegolf.files import write_atomically

LEDGER = "ledger.jsonl"
HEAD = "ledger.json"
FIRST = "0" * 64
_TAIL = 1 << 16  # bytes from the end of the file in which its last line is looked for
_GIT_SECONDS = 5.0


@dataclass(frozen=True)
class Entry:
    """A line. number: counted from 1. digest: sha256 of its bytes without the newline. facts: the event's own."""

    number: int
    digest: str
    time: str
    run: str
    event: str
    facts: dict[str, Any]


def append(run: Path, event: str, **facts: Any) -> None:
    """One more line in the ledger beside the run's directory, and the note of it inside.

    Writers on one machine wait for each other. Raises OSError when it cannot be written, RunError when the ledger
    ends in the middle of a line.
    """
    run = Path(os.path.abspath(run))
    path = run.parent / LEDGER
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        body = {
            "previous": _last_digest(file, path),
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "run": run.name,
            "event": event,
            **facts,
        }
        line = json.dumps(body, separators=(",", ":")).encode()
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if run.is_dir():
            write_atomically(run / HEAD, json.dumps({"latest": _digest(line)}).encode() + b"\n")


def _last_digest(file: BinaryIO, path: Path) -> str:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return FIRST
    file.seek(max(0, size - _TAIL))
    end = file.read()
    if b"\n" not in end[:-1]:  # the last line is longer
        file.seek(0)
        end = file.read()
    if not end.endswith(b"\n"):
        raise RunError("the ledger ends in the middle of a line", where=path, fix=_REPAIR)
    return _digest(end[:-1].rpartition(b"\n")[2])


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


_REPAIR = "what was written is lost or was changed: move the file away, and a new ledger begins"


def read_ledger(folder: Path) -> list[Entry]:
    """All lines, checked; none where there is no ledger. Where the file system has locks, whoever is writing a
    line first finishes it, and its note in the run's directory.

    Raises RunError, with the number of the line, for one that is no JSON object or does not follow the one before
    it, and when a run directory was noted in a line that is not there.
    """
    path = folder / LEDGER
    if not path.is_file():
        _check_heads(folder, path, set())
        return []
    with path.open("rb") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        entries = _entries(file.read(), path)
        _check_heads(folder, path, {entry.digest for entry in entries})
    return entries


def _entries(content: bytes, path: Path) -> list[Entry]:
    entries: list[Entry] = []
    previous = FIRST
    lines = content.split(b"\n")
    if lines.pop():
        raise RunError(f"line {len(lines) + 1} of the ledger is cut", where=path, fix=_REPAIR)
    for number, line in enumerate(lines, 1):
        body = _parsed(line)
        if body is None or body.pop("previous") != previous:
            what = "is damaged" if body is None else "does not follow the line before it"
            raise RunError(f"line {number} of the ledger {what}", where=path, fix=_REPAIR)
        previous = _digest(line)
        entries.append(Entry(number, previous, body.pop("time"), body.pop("run"), body.pop("event"), body))
    return entries


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(body, dict) and all(
        isinstance(body.get(key), str) for key in ("previous", "time", "run", "event")
    )
    return body if whole else None


def _check_heads(folder: Path, path: Path, known: set[str]) -> None:
    for head in sorted(folder.glob(f"*/{HEAD}")):
        try:
            latest = json.loads(head.read_bytes())["latest"]
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError("a run's note of its place in the ledger is damaged", where=head) from None
        if latest not in known:
            raise RunError(
                "lines are missing at the end of the ledger",
                got=f"none with the sha256 {str(latest)[:16]} that {head} notes",
                where=path,
                fix="put back what was cut off; a run directory that was copied here needs no "
                f"{HEAD}, delete it there",
            )


@contextmanager
def chronicled(
    run: Path, begun: str, facts: dict[str, Any], tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Write that a run began, and how it ended: `finished` with what the context puts into the dict it is given,
    `interrupted` when that says so, or `failed`. A ledger that cannot be written is a line to the user.
    """
    noted(run, tell, begun, **facts, **origin())
    end: dict[str, Any] = {}
    try:
        yield end
    except BaseException as error:
        noted(run, tell, "failed", error=getattr(error, "rule", None) or type(error).__name__)
        raise
    noted(run, tell, "interrupted" if end.pop("interrupted", False) else "finished", **end)


def noted(run: Path, tell: Callable[[str], None], event: str, **facts: Any) -> None:
    """`append`, for callers whose own work counts for more: what goes wrong is told and not raised."""
    try:
        append(run, event, **facts)
    except (OSError, RunError) as error:
        why = error.rule if isinstance(error, RunError) else error.strerror or error
        tell(f"not in the ledger {run.parent / LEDGER}: {why}")


def origin() -> dict[str, Any]:
    """Which program, on which machine."""
    return {"host": platform.node(), "version": __version__, "commit": _commit()}


def _commit() -> str | None:
    """The git commit that this package is a checkout of, with `+` when something is changed; None for none."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=_GIT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if (
        git("ls-files", "--error-unmatch", Path(__file__).name) is None
    ):  # a package that lies in another's tree
        return None
    head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", ".")
    return None if head is None else head + ("+" if changed else "")
