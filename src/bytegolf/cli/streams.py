"""What `compress` and `decompress` share: where bytes come from and go to, how much work is done at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from bytegolf.cli.output import Output
from bytegolf.errors import RunError, UserError

if TYPE_CHECKING:
    from bytegolf.coding.stream import Summary

STANDARD = Path("-")
SUFFIX = ".golfz"

LANES = typer.Option(
    8,
    min=1,
    max=1024,
    help="Blocks that go through the model together; more is faster and takes more memory.",
)
THREADS = typer.Option(None, min=1, max=1024, help="Worker processes.  [default: one a usable core]")
FORCE = typer.Option(False, "--force", help="Replace an output file that exists.")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Named:
    """A stream whose errors say which one it is."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name

    def read(self, size: int = -1, /) -> bytes:
        with self._naming():
            return self._stream.read(size)

    def write(self, data: bytes, /) -> int:
        with self._naming():
            return self._stream.write(data)

    def flush(self) -> None:
        with self._naming():
            self._stream.flush()

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with self._naming():
            return self._stream.seek(offset, whence)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.filename is None:
                error.filename = self._name
            raise


@contextlib.contextmanager
def opened(source: Path) -> Iterator[Named]:
    """The input; `-` is stdin. Raises RunError when there is no such file."""
    if source == STANDARD:
        yield Named(sys.stdin.buffer, "stdin")
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise RunError(
            "the input must be a readable file",
            got=error.strerror or str(error),
            where=source,
            fix="give the path of a file, or - to read stdin",
        ) from error
    with file:
        yield Named(file, str(source))


def check_output(out: Path, source: Path, force: bool, as_json: bool) -> None:
    """Raises before any work is done for it: UserError or RunError for an output that cannot be had."""
    if out == STANDARD:
        if as_json:
            raise UserError(
                "stdout takes the bytes or the JSON object, not both",
                got="-o - and --json",
                fix="write into a file, or leave --json away: the summary is on stderr",
            )
    elif out.is_dir():
        raise RunError("the output must be a file", got="a folder", where=out, fix="give -o a file name")
    elif source != STANDARD and out.exists() and source.exists() and out.samefile(source):
        raise RunError("input and output must be different files", where=out, fix="give -o another name")
    elif out.is_file() and not force:
        raise RunError(
            "an output file is not overwritten", where=out, fix="give -o another name, or say --force"
        )


@contextlib.contextmanager
def written(out: Path) -> Iterator[Named]:
    """Where the output goes; `-` is stdout. A file appears under its name when all went well, and not before.

    What is there and no plain file (a pipe with a name, /dev/null) is written to as it is.
    """
    from bytegolf.files import atomic

    if out == STANDARD:
        stdout = Named(sys.stdout.buffer, "stdout")
        yield stdout
        stdout.flush()
        return
    try:
        with out.open("wb") if out.exists() and not out.is_file() else atomic(out) as file:
            sink = Named(file, str(out))
            yield sink
            sink.flush()
    except OSError as error:
        if error.filename is None:  # from the last of it, on its way to the disk
            error.filename = str(out)
        raise


@contextlib.contextmanager
def damage_in(source: Path) -> Iterator[None]:
    """StreamErrors from here say in which file, and what to do."""
    from bytegolf.coding.block import StreamError

    try:
        yield
    except StreamError as error:
        error.where = error.where or ("stdin" if source == STANDARD else source)
        error.fix = error.fix or "get the file again, or compress the text again"
        raise


@contextlib.contextmanager
def bar(output: Output, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar over bytes of text; a count of them where it is not known how many there will be."""
    with output.progress(title) as show:

        def progress(done: int) -> None:
            show(done / total if total else 0.0, f"{done:,} bytes")

        yield progress


def size_of(source: Path) -> int | None:
    """Bytes of a plain file; None for what gives them as it likes."""
    return source.stat().st_size if source != STANDARD and source.is_file() else None


def facts(summary: Summary, seconds: float) -> dict[str, object]:
    """The summary for --json."""
    return {
        "raw_bytes": summary.raw,
        "file_bytes": summary.file,
        "embedded_model_bytes": summary.embedded,
        "bits_per_byte": summary.bits_per_byte,
        "blocks": summary.blocks,
        "stored_blocks": summary.stored,
        "tokens": summary.tokens,
        "payload_bytes": summary.payload,
        "framing_bytes": summary.file - summary.payload,
        "seconds": seconds,
        "bytes_per_second": summary.raw / seconds if seconds else None,
    }


def line(summary: Summary, seconds: float) -> str:
    """`599,719 bytes, 92,071 as .golfz, 1.2282 bits per byte; 41.2 s, 14,556 bytes/s; 5 blocks, 0 stored`."""
    words = f"{summary.raw:,} bytes, {summary.file:,} as {SUFFIX}"
    if summary.bits_per_byte is not None:
        words += f", {summary.bits_per_byte:.4f} bits per byte"
    if summary.embedded:
        words += f", and {summary.embedded:,} of embedded model"
    return f"{words}; {_pace(summary, seconds)}"


def range_line(length: int, summary: Summary, seconds: float) -> str:
    """`1,000 bytes of the text; 3.1 s, 42,281 bytes/s; 1 block, 0 stored`: speed is that of whole blocks."""
    return f"{length:,} bytes of the text; {_pace(summary, seconds)}"


def _pace(summary: Summary, seconds: float) -> str:
    speed = f", {summary.raw / seconds:,.0f} bytes/s" if seconds else ""
    blocks = f"{summary.blocks:,} block{'s' if summary.blocks != 1 else ''}"
    return f"{seconds:.1f} s{speed}; {blocks}, {summary.stored:,} stored"
