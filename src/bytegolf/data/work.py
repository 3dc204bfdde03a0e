"""The folder in which a dataset is built, beside the one that it becomes: locked, resumed or begun anew."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bytegolf.data import chunks
from bytegolf.data.chunks import Chunk
from bytegolf.data.manifest import MANIFEST
from bytegolf.data.pool import WorkerError
from bytegolf.data.source import HindranceError, Source
from bytegolf.errors import DataError, UserError
from bytegolf.files import atomic, write_atomically

_JOB = "job.json"
_LOCK = "lock"
_PLAN = "plan"


@dataclass(frozen=True)
class Work:
    """A folder for the files of a build. out: the dataset, as far as it is there."""

    folder: Path
    source: Source
    resumes: bool

    @property
    def out(self) -> Path:
        return self.folder / "dataset.tmp"

    def plan(self) -> int:
        """Write down the chunks of the source, unless that is done; how many there are."""
        if not self.resumes:
            return sum(1 for _ in self.source.chunks())
        path = self.folder / _PLAN
        if not path.exists():
            with atomic(path) as file:
                for chunk in self.source.chunks():
                    file.write(chunks.to_line(chunk).encode() + b"\n")
        with path.open("rb") as file:
            return sum(1 for _ in file)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks in order, from memory or from the plan."""
        if not self.resumes:
            yield from self.source.chunks()
            return
        with (self.folder / _PLAN).open() as file:
            yield from map(chunks.from_line, file)

    def left(self, file: Callable[[int], Path]) -> Iterator[tuple[int, Chunk]]:
        """The numbered chunks whose file is not there yet."""
        return ((n, chunk) for n, chunk in enumerate(self.chunks()) if not file(n).exists())

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*"))


@contextlib.contextmanager
def working(
    target: Path, source: Source, job: dict[str, object], tell: Callable[[str], None]
) -> Iterator[Work]:
    """The work folder of `target`, for this process alone.

    What an earlier build left there is taken up if its job was the same: source, options, versions. Else it is
    removed, and `tell` says so. The folder stays when the build is interrupted or the disk refuses; it goes when
    the build is done, when the text or the options are wrong, or when the source is in memory.
    """
    folder = target.with_name(f".{target.name}.build")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / _LOCK, target):
        keep = source.resumes
        try:
            _take_up(folder, job, source.resumes, tell)
            work = Work(folder, source, source.resumes)
            work.out.mkdir(exist_ok=True)
            yield work
            keep = False
        except UserError as error:
            keep = keep and isinstance(error, HindranceError | WorkerError)
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


def check_target(folder: Path, force: bool) -> None:
    """Raises DataError if the folder is there and may not be replaced."""
    aside = _aside(folder)
    if aside.exists() and not folder.exists():
        aside.rename(folder)  # a build was killed between the two renames of `put_in_place`
    if not folder.exists():
        return
    if not force:
        raise DataError(
            "a build does not overwrite", got=f"{folder} exists", fix="choose another folder or pass --force"
        )
    if not (folder / MANIFEST).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "--force replaces a dataset and nothing else",
            got=f"{folder}, which holds no {MANIFEST}",
            fix="choose another folder",
        )


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename, with the old dataset set aside until the new one is in its place."""
    if not folder.exists():
        temporary.rename(folder)
        return
    aside = _aside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def check_disk(work: Work, needed: int) -> None:
    """Raises DataError if the disk is too small for what the build is still to write."""
    free = shutil.disk_usage(work.folder).free
    if free + work.size() < needed:
        raise HindranceError(
            f"the build needs about {needed / 1e9:.1f} GB of disk while it works",
            got=f"{free / 1e9:.1f} GB free",
            where=str(work.folder.parent),
            fix="free some space, or choose --out on a larger disk",
        )


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _take_up(folder: Path, job: dict[str, object], resumes: bool, tell: Callable[[str], None]) -> None:
    facts = json.dumps(job, sort_keys=True).encode()
    path = folder / _JOB
    earlier = path.read_bytes() if path.exists() else None
    if earlier == facts and resumes:
        tell(f"going on with the build that was broken off, in {folder}")
        return
    if earlier is not None and resumes:
        tell("the source, an option or a version has changed since a build was broken off: starting anew")
    for old in folder.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != _LOCK:
            old.unlink()
    write_atomically(path, facts)


@contextlib.contextmanager
def _locked(path: Path, target: Path) -> Iterator[None]:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                "one build at a time writes a dataset",
                got="another process at work on it",
                where=str(target),
                fix="wait for it, or choose another folder",
            ) from None
        yield
