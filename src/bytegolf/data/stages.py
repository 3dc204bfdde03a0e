"""What worker processes do with a chunk or a bucket. Every task leaves one file, and a file that is there is done.

So a build that was broken off goes on where it was: files get their names when they are whole.

    scan-N     of chunk N: how many documents, and those that are held out at first; written after its spill
    spill-N    of chunk N: all its other documents, in the order of training
    found-N    of chunk N: which shingles of the held-out documents its spill holds
    tokens-B   of bucket B: tokens, and their bytes where no table can tell them
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bytegolf import registry
from bytegolf.data import framing
from bytegolf.data.chunks import Chunk
from bytegolf.data.corpora import Document
from bytegolf.data.shingles import Finder, Shingles, Wanted
from bytegolf.data.source import unreadable
from bytegolf.data.spill import read_bucket, read_spill, write_spill
from bytegolf.data.split import HeldOut
from bytegolf.data.tokenizer import Ids, Learner
from bytegolf.files import write_atomically

Task = tuple[int, Chunk]


@dataclass(frozen=True)
class Scan:
    """Chunk -> spill file and scan file. prefix: `rescan` when the hash of the groups did not split the text."""

    work: Path
    held_out: HeldOut
    buckets: int
    prefix: str = "scan"

    def begin(self) -> Callable[[Task], None]:
        return self._do

    def file(self, number: int) -> Path:
        return self.work / f"{self.prefix}-{number:06d}"

    def _do(self, task: Task) -> None:
        held: list[Document] = []
        training: list[Document] = []
        for document in _documents(task[1]):
            (held if self.held_out(document.group) else training).append(document)
        write_spill(spill(self.work, task[0]), training, self.buckets)
        named = [[document.name, document.group, len(document.data)] for document in held]
        head = json.dumps({"documents": len(held) + len(training), "held_out": named}).encode()
        write_atomically(self.file(task[0]), head, b"\n", *(document.data for document in held))

    def read(self, number: int) -> tuple[int, list[Document]]:
        """How many documents the chunk has, and those that are held out."""
        with self.file(number).open("rb") as file:
            head = json.loads(file.readline())
            held = [Document(name, group, file.read(size)) for name, group, size in head["held_out"]]
        return head["documents"], held


@dataclass(frozen=True)
class Groups:
    """Chunk -> the groups of its documents."""

    def begin(self) -> Callable[[Task], list[str]]:
        return lambda task: [document.group for document in _documents(task[1])]


@dataclass(frozen=True)
class Sift:
    """Number of a chunk -> found file. lengths: of the shingles that `save` left for the workers."""

    work: Path
    buckets: int
    lengths: tuple[int, ...]

    def begin(self) -> Callable[[int], None]:
        # Mapped, not read: one copy of the tables for all processes.
        wanted = [
            Wanted(length, *(np.load(file, mmap_mode="r") for file in self._tables(length)))
            for length in self.lengths
        ]
        finder = Finder(wanted)
        return lambda number: self._do(finder, number)

    def file(self, number: int) -> Path:
        return self.work / f"found-{number:06d}"

    def save(self, shingles: Shingles) -> None:
        """The tables, before any task."""
        for wanted in shingles.wanted():
            for path, table in zip(self._tables(wanted.length), (wanted.hashes, wanted.anchors), strict=True):
                buffer = io.BytesIO()
                np.save(buffer, table)
                write_atomically(path, buffer.getvalue())

    def read(self, number: int) -> list[npt.NDArray[np.int64]]:
        """Indices of the shingles that were found, for each length."""
        with np.load(self.file(number)) as found:
            return [found[str(length)] for length in self.lengths]

    def _tables(self, length: int) -> tuple[Path, Path]:
        return self.work / f"hashes-{length}.npy", self.work / f"anchors-{length}.npy"

    def _do(self, finder: Finder, number: int) -> None:
        found = finder.find(read_spill(spill(self.work, number), self.buckets))
        buffer = io.BytesIO()
        tables: dict[str, Any] = {str(n): indices for n, indices in zip(self.lengths, found, strict=True)}
        np.savez(buffer, **tables)
        write_atomically(self.file(number), buffer.getvalue())


@dataclass(frozen=True)
class Encode:
    """Bucket -> token file, a JSON line {tokens, counted} and the ids. spills: the files, in order."""

    work: Path
    spills: tuple[Path, ...]
    buckets: int
    tokenizer: bytes

    def begin(self) -> Callable[[int], int]:
        learner = load_learner(self.tokenizer)
        return lambda bucket: self._do(learner, bucket)

    def file(self, bucket: int) -> Path:
        return self.work / f"tokens-{bucket:06d}"

    def read(self, bucket: int) -> tuple[Ids, Ids | None]:
        """Tokens, and their bytes if they are counted."""
        data = self.file(bucket).read_bytes()
        head = json.loads(data[: (start := data.index(b"\n") + 1)])
        ids = np.frombuffer(data, dtype="<u2", offset=start)
        tokens = head["tokens"]
        return ids[:tokens], ids[tokens:] if head["counted"] else None

    def _do(self, learner: Learner, bucket: int) -> int:
        ids = learner.encode_documents(read_bucket(self.spills, bucket, self.buckets))
        counts = learner.byte_counts(ids) if learner.transforms else None
        head = json.dumps({"tokens": len(ids), "counted": counts is not None}).encode()
        parts = [ids.astype("<u2").tobytes()] + ([] if counts is None else [counts.astype("<u2").tobytes()])
        write_atomically(self.file(bucket), head, b"\n", *parts)
        return bucket


def spill(work: Path, number: int) -> Path:
    """The spill file of a chunk."""
    return work / f"spill-{number:06d}"


def load_learner(blob: bytes) -> Learner:
    """The tokenizer of a build, from its bytes."""
    kind = registry.lookup("tokenizer", framing.read_head(blob)["kind"])
    learner: Learner = kind.from_bytes(blob)
    return learner


def _documents(chunk: Chunk) -> list[Document]:
    try:
        return list(chunk.documents())
    except OSError as error:
        raise unreadable(error, error.filename) from error
