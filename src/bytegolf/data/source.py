"""A user's text as a sequence of chunks that any process can read on its own.

A chunk is about 16 MiB of documents. Where one ends depends on the source alone, so all that is made chunk by
chunk is the same for any number of processes. A chunk knows the size and the time of its files: text that changes
while a dataset is built is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bytegolf.data.chunks import (
    CHUNK_BYTES,
    Chunk,
    FilesChunk,
    LinesChunk,
    PiecesChunk,
    Stamp,
    next_cut,
    stamp,
)
from bytegolf.data.corpora import Corpus, Document
from bytegolf.errors import DataError

PIECE_BYTES = 64 * 1024
MIN_PIECE_BYTES = 1024
PIECES_OF_A_SMALL_FILE = 48
MAX_LINE_BYTES = 1 << 26
MAX_FILES_OF_A_CHUNK = 16_384


class HindranceError(DataError):
    """The machine's refusal, not the text's fault: what is built so far stays, and the same command goes on."""


class Source(Protocol):
    """Where documents come from.

    name: safe in a file name. kind: a word for it. resumes: whether a build that was broken off can find
    the same text again, by its fingerprint.
    """

    kind: ClassVar[str]
    resumes: ClassVar[bool]

    @property
    def name(self) -> str: ...

    def survey(self) -> tuple[int, str]:
        """Bytes, and a fingerprint that changes when a file does; nothing is read."""

    def chunks(self) -> Iterator[Chunk]:
        """All documents, in order."""

    def describe(self, documents: int) -> str:
        """A sentence for the manifest."""


class _Path:
    kind: ClassVar[str]
    resumes: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.path.resolve().stem).strip("-.") or "source"

    def survey(self) -> tuple[int, str]:
        size, changed = stamp(self.path)
        return size, _digest(self.kind, str(self.path.resolve()), size, changed)

    def describe(self, documents: int) -> str:
        return f"the {self.kind} {self.path.name}, {documents} documents"


class LinesSource(_Path):
    """A .jsonl: one document and group per line, named by its number; blank lines and empty texts are left out."""

    kind = "jsonl"

    def chunks(self) -> Iterator[Chunk]:
        """Cost: reads the file once, to count its lines. Raises DataError for a line above 64 MiB."""
        mark = stamp(self.path)
        start, number = 0, 1
        with self.path.open("rb") as file:
            while data := file.read(CHUNK_BYTES):
                lines = data.count(b"\n")
                stop = start + len(data)
                if not data.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
                    if len(data) - (data.rfind(b"\n") + 1) + len(rest) > MAX_LINE_BYTES:
                        raise DataError(
                            f"a line has at most {MAX_LINE_BYTES:,} bytes",
                            got="a longer one",
                            where=f"{self.path}, line {number + lines}",
                            fix="cut the text into documents, a line each",
                        )
                    stop += len(rest)
                    lines += rest.endswith(b"\n")
                yield LinesChunk(str(self.path), mark, start, stop, number)
                start, number = stop, number + lines


class FileSource(_Path):
    """Any other file: contiguous pieces cut after line breaks, each a document and group.

    A piece has about 64 KiB, less in a file below 3 MiB, so that about 48 pieces (of at least 1 KiB) are there to
    choose from. Without a line break in reach it ends in mid-line: a file of one line is still split.
    """

    kind = "file"

    def chunks(self) -> Iterator[Chunk]:
        """Cost: reads the file once, to find the line breaks."""
        return _pieces(str(self.path), self.path.name, stamp(self.path))


class FolderSource(_Path):
    """A folder: one document and group per regular file, named by its relative path.

    Hidden names, links and empty files are skipped. A file above 16 MiB comes in pieces, as it would alone.
    """

    kind = "folder"

    def survey(self) -> tuple[int, str]:
        """Cost: walks the folder, with the names of one directory at each depth in memory."""
        digest = hashlib.sha256(_digest(self.kind, str(self.path.resolve())).encode())
        total = 0
        for name, (size, changed) in _files(self.path, ""):
            digest.update(_digest(name, size, changed).encode())
            total += size
        return total, digest.hexdigest()

    def chunks(self) -> Iterator[Chunk]:
        """Cost: walks the folder once more."""
        files: list[tuple[str, Stamp]] = []
        size = 0
        for name, mark in _files(self.path, ""):
            large = mark[0] > CHUNK_BYTES
            if files and (large or size >= CHUNK_BYTES or len(files) >= MAX_FILES_OF_A_CHUNK):
                yield FilesChunk(str(self.path), tuple(files))
                files, size = [], 0
            if large:
                yield from _pieces(str(self.path / name), name, mark)
            elif mark[0]:
                files.append((name, mark))
                size += mark[0]
        if files:
            yield FilesChunk(str(self.path), tuple(files))


@dataclass(frozen=True)
class DocumentsChunk:
    """Documents that are in memory."""

    content: tuple[Document, ...]

    def documents(self) -> Iterator[Document]:
        return iter(self.content)


class CorpusSource:
    """A corpus that is in memory, for as long as this process is."""

    kind: ClassVar[str] = "corpus"
    resumes: ClassVar[bool] = False

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.name = corpus, corpus.name

    def survey(self) -> tuple[int, str]:
        return sum(len(document.data) for document in self.corpus.documents), ""

    def chunks(self) -> Iterator[Chunk]:
        content: list[Document] = []
        size = 0
        for document in self.corpus.documents:
            content.append(document)
            size += len(document.data)
            if size >= CHUNK_BYTES:
                yield DocumentsChunk(tuple(content))
                content, size = [], 0
        if content:
            yield DocumentsChunk(tuple(content))

    def describe(self, documents: int) -> str:
        return self.corpus.description


def open_source(path: str | os.PathLike[str]) -> Source:
    """A user's text: a .jsonl with a `text` field, a folder, or any other file. Bytes are taken as they are.

    Raises DataError if the path is missing.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("the source must exist", got=str(path), fix="give a text file, a folder or a .jsonl")
    if path.is_dir():
        return FolderSource(path)
    return LinesSource(path) if path.suffix == ".jsonl" else FileSource(path)


def from_source(path: str | os.PathLike[str]) -> Corpus:
    """All of `open_source(path)` in memory.

    Raises DataError if the path is missing, unreadable or empty, or a line is malformed (naming the line).
    """
    source = open_source(path)
    try:
        documents = [document for chunk in source.chunks() for document in chunk.documents()]
    except OSError as error:
        raise unreadable(error, path) from error
    if not documents:
        raise empty(source, path)
    return Corpus(source.name, documents, source.describe(len(documents)))


def unreadable(error: OSError, where: object) -> HindranceError:
    return HindranceError("the source must be readable", got=str(error), where=where)


def empty(source: Source, where: object) -> DataError:
    return DataError("the source must hold some text", got=f"an empty {source.kind}", where=where)


def _pieces(path: str, name: str, mark: Stamp) -> Iterator[Chunk]:
    size = mark[0]
    piece = min(PIECE_BYTES, max(MIN_PIECE_BYTES, size // PIECES_OF_A_SMALL_FILE))
    first = start = 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(start + piece - 1)
            start = next_cut(file.read(piece + 1), start + piece - 1, start, piece, size)
            if start - first >= CHUNK_BYTES or start == size:
                yield PiecesChunk(path, mark, name, first, start, piece)
                first = start


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Stamp]]:
    """Visible files below `folder` in the order of their paths: directories count with a slash behind."""
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name + "/" * entry.is_dir(follow_symlinks=False)
            for entry in entries
            if not entry.name.startswith(".")
            and (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
        )
    for name in names:
        if name.endswith("/"):
            yield from _files(folder / name, prefix + name)
        else:
            yield prefix + name, stamp(folder / name)


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
