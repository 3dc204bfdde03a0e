"""Parts of a source: each knows where its documents are, and reads them in whatever process it is."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from bytegolf.data.corpora import Document
from bytegolf.errors import DataError

CHUNK_BYTES = 1 << 24

Stamp = tuple[int, int]  # bytes, and the time of the last change in ns


class Chunk(Protocol):
    """Neighbouring documents of a source."""

    def documents(self) -> Iterator[Document]: ...


@dataclass(frozen=True)
class LinesChunk:
    """Lines of a .jsonl: bytes start..stop-1. number: of its first line, from 1."""

    path: str
    stamp: Stamp
    start: int
    stop: int
    number: int

    def documents(self) -> Iterator[Document]:
        """Raises DataError for a line that is no JSON object with a string `text` (naming the line)."""
        lines = io.BytesIO(_read(self.path, self.stamp, self.start, self.stop))
        for number, line in enumerate(lines, start=self.number):
            if line.strip() and (text := _text_of(line, f"{self.path}, line {number}")):
                yield Document(str(number), str(number), text)


@dataclass(frozen=True)
class PiecesChunk:
    """Pieces of a file: bytes start..stop-1, in pieces of about `piece` bytes. name: of the file."""

    path: str
    stamp: Stamp
    name: str
    start: int
    stop: int
    piece: int

    def documents(self) -> Iterator[Document]:
        data = _read(self.path, self.stamp, self.start, self.stop)
        at = 0
        while at < len(data):
            end = next_cut(data, 0, at, self.piece, len(data))
            name = f"{self.name}@{self.start + at:012d}"
            yield Document(name, name, data[at:end])
            at = end


@dataclass(frozen=True)
class FilesChunk:
    """Files of a folder, each a document: their names and stamps."""

    root: str
    files: tuple[tuple[str, Stamp], ...]

    def documents(self) -> Iterator[Document]:
        for name, mark in self.files:
            data = _read(os.path.join(self.root, name), mark, 0, mark[0])
            yield Document(name, name, data)


def next_cut(data: bytes, offset: int, start: int, piece: int, size: int) -> int:
    """Where the piece that begins at `start` ends: behind a line break between `piece` and twice that, if any.

    data: the text from `offset` on, as far as start + 2 * piece where there is so much. size: of the whole text.
    """
    first = start + piece - 1 - offset
    found = data.find(b"\n", first, first + piece + 1)
    return offset + found + 1 if found >= 0 else min(start + piece, size)


def to_line(chunk: Chunk) -> str:
    """One line of JSON."""
    return json.dumps([type(chunk).__name__, asdict(chunk)])  # type: ignore[call-overload]


def from_line(line: str) -> Chunk:
    """The inverse of `to_line`."""
    kind, fields = json.loads(line)
    if "files" in fields:
        fields["files"] = tuple((name, tuple(mark)) for name, mark in fields["files"])
    else:
        fields["stamp"] = tuple(fields["stamp"])
    kinds: dict[str, Any] = {k.__name__: k for k in (LinesChunk, PiecesChunk, FilesChunk)}
    chunk: Chunk = kinds[kind](**fields)
    return chunk


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """What tells that a file changed."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _read(path: str, mark: Stamp, start: int, stop: int) -> bytes:
    """Raises DataError unless the file has its stamp, before and after."""
    with Path(path).open("rb") as file:
        found = os.fstat(file.fileno())
        file.seek(start)
        data = file.read(stop - start)
    if (found.st_size, found.st_mtime_ns) != mark or stamp(path) != mark or len(data) != stop - start:
        raise DataError(
            "the source must not change while a dataset is built from it",
            got="a file with another size or time than at the start",
            where=path,
            fix="run the command again",
        )
    return data


def _text_of(line: bytes, where: str) -> bytes:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # malformed JSON, malformed UTF-8, a tower of brackets
        raise DataError("every line must be a JSON object", got=str(error), where=where) from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        fields = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise DataError(
            "every line must have a field `text` that holds a string",
            got=fields or "no field",
            where=where,
            fix="rename the field that holds the text to `text`",
        )
    # JSON can spell half a surrogate pair, which has no UTF-8: it is kept as its three raw bytes.
    return str(record["text"]).encode("utf-8", "surrogatepass")
