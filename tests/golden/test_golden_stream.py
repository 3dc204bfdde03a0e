"""Compressed files of the first version decode for ever; tests/golden/stream/README.md says how they were made."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from bytegolf.coding.container import Reader
from bytegolf.coding.model_recipe import ModelRecipe
from bytegolf.coding.stream import Work, compress_documents, decompress

FOLDER = Path(__file__).parent / "stream"
TEXT = (FOLDER / "text.bin").read_bytes()
SHA256 = {
    "text.bin": "1cf5f2b21e7e35017b0aac0b0651040e552a8d19f436fe6569ee84fde98d4ad7",
    "gqa.golf": "940a90987f127fa3cb5e955f51241fbf5862d1b798146d9911d03673a36dfaea",
    "gqa.golfz": "711568d9d78e5b4a3a44ce7f204721fa9b925c265f979260334b4dea973d1224",
    "mla.golf": "eea5cc8abf39b7b19aec7ba588a06a66f1300ddf74ac615d812665360509a578",
    "mla.golfz": "e1f062ff08e5150810808e32ae36b14e7c581dc73d7f5bed35c60c5ad4ef5a32",
}
EVERY_STREAM = pytest.mark.parametrize("name", ["gqa", "mla"])
EVERY_WORK = pytest.mark.parametrize("lanes", [1, 2])


def reader_and_recipe(name: str) -> tuple[Reader, ModelRecipe]:
    reader = Reader(io.BytesIO((FOLDER / f"{name}.golfz").read_bytes()))
    golf = (FOLDER / f"{name}.golf").read_bytes()
    return reader, ModelRecipe(golf, reader.header.context, reader.header.stride, name)


@pytest.mark.parametrize("name", SHA256)
def test_the_files_are_the_ones_that_were_made(name: str) -> None:
    """If not, look first for what changes line ends on the way through version control."""
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == SHA256[name]


def test_the_text_is_as_awkward_as_it_should_be() -> None:
    for part in (b"\r\n", b"\0", b"\xff\xfe", "漢字".encode()):
        assert part in TEXT
    with pytest.raises(UnicodeDecodeError):
        TEXT.decode()


@EVERY_STREAM
@EVERY_WORK
def test_a_file_of_the_first_version_decodes(name: str, lanes: int) -> None:
    reader, recipe = reader_and_recipe(name)
    sink = io.BytesIO()
    summary = decompress(reader, sink, recipe, work=Work(lanes=lanes))
    assert sink.getvalue() == TEXT
    assert (summary.blocks, summary.stored) == (3, 1)


@EVERY_STREAM
@EVERY_WORK
def test_the_same_blocks_give_the_same_file(name: str, lanes: int) -> None:
    reader, recipe = reader_and_recipe(name)
    sink, size = io.BytesIO(), reader.header.block
    blocks = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    compress_documents(blocks, sink, recipe, block=size, work=Work(lanes=lanes))
    assert hashlib.sha256(sink.getvalue()).hexdigest() == SHA256[f"{name}.golfz"]


def test_the_command_decodes_it() -> None:
    command = [sys.executable, "-m", "bytegolf", "decompress", "gqa.golf", "gqa.golfz", "-o", "-"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, TEXT), done.stderr.decode()
