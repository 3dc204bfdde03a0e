"""A corpus is what its description says: the right files, their exact bytes, and nothing twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data import corpora
from bytegolf.data.corpora import Corpus, embedded
from bytegolf.data.source import from_source
from bytegolf.data.split import split
from bytegolf.errors import ConfigError, DataError


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@given(data=st.binary(min_size=1, max_size=5000), repeat=st.integers(1, 40))
def test_the_pieces_of_a_file_join_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, repeat: int
):
    path = write(tmp_path_factory.mktemp("source") / "text.txt", data * repeat)
    pieces = from_source(path).documents
    assert b"".join(piece.data for piece in pieces) == data * repeat
    assert all(piece.data for piece in pieces)
    assert len({piece.group for piece in pieces}) == len(pieces)


def test_a_large_file_is_cut_into_pieces_of_about_64_kib_after_line_breaks(tmp_path: Path):
    path = write(tmp_path / "text.txt", (b"x" * 63 + b"\n") * 60_000)
    pieces = from_source(path).documents
    assert all(piece.data.endswith(b"\n") for piece in pieces)
    assert {len(piece.data) for piece in pieces[:-1]} == {64 * 1024}


def test_a_file_of_one_line_still_comes_in_pieces(tmp_path: Path):
    assert len(from_source(write(tmp_path / "one-line.txt", b"x" * 300_000)).documents) > 40


def test_a_folder_gives_its_visible_files_in_order_with_their_paths(tmp_path: Path):
    for name in ("b.txt", "a/z.txt", "a/.hidden", ".git/config", "a/empty"):
        write(tmp_path / name, b"" if name == "a/empty" else name.encode())
    os.symlink(tmp_path / "b.txt", tmp_path / "link.txt")
    found = from_source(tmp_path).documents
    assert [(d.name, d.group, d.data) for d in found] == [
        ("a/z.txt", "a/z.txt", b"a/z.txt"),
        ("b.txt", "b.txt", b"b.txt"),
    ]


def test_a_jsonl_gives_one_document_per_line_named_by_its_number(tmp_path: Path):
    texts = ["one", "", "two\r\n\x00▁", "half a pair \ud800"]
    lines = [json.dumps({"text": text, "id": 1}) for text in texts]
    lines.insert(1, "")
    path = write(tmp_path / "text.jsonl", "\n".join(lines).encode())
    assert [(d.name, d.data) for d in from_source(path).documents] == [
        ("1", b"one"),
        ("4", "two\r\n\x00▁".encode()),
        ("5", b"half a pair \xed\xa0\x80"),
    ]


@pytest.mark.parametrize(
    ("line", "got"),
    [
        (b"{", "Expecting"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'{"txet": "x"}', "txet"),
        (b'{"text": 3}', "text"),
        (b"[]", "list"),
        (b"{}", "no field"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, got: str):
    path = write(tmp_path / "text.jsonl", b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(DataError) as error:
        from_source(path)
    assert got in str(error.value)
    assert str(error.value.where).endswith("line 2")


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str):
    with pytest.raises(DataError, match="hold some text"):
        from_source(write(tmp_path / name, b""))


def test_an_empty_folder_and_a_missing_path_are_errors(tmp_path: Path):
    with pytest.raises(DataError, match="hold some text"):
        from_source(tmp_path)
    with pytest.raises(DataError, match="must exist"):
        from_source(tmp_path / "nothing")


def test_the_name_of_a_source_is_safe_in_a_file_name(tmp_path: Path):
    assert from_source(write(tmp_path / "my text (2).txt", b"x")).name == "my-text-2"


def test_an_unknown_corpus_gets_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'stdlib'"):
        embedded("stdlb")


def small_stdlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "abc.py",
        "email/mime/text.py",
        "email/empty.py",
        "test/test_abc.py",
        "json/tests/test_json.py",
        "idlelib/idle_test/test_x.py",
        "site-packages/numpy.py",
        "encodings/cp437.py",
        "_sysconfigdata__linux_.py",
        "html/entities.py",
        "config-3.11-x86_64/python-config.py",
        "contest/__init__.py",
        "README.txt",
    ):
        source = f'"""About {name}."""\nclass A:\n    """A."""\n    def f(self):\n        """F."""\n'
        write(tmp_path / name, b"" if "empty" in name else source.encode())
    write(tmp_path / "plain.py", b"x = 1\n")
    write(tmp_path / "template.py", b"def (:\n")
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda name: str(tmp_path))


def test_tests_foreign_files_and_tables_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small_stdlib(tmp_path, monkeypatch)
    assert [(d.name, d.group) for d in embedded("stdlib").documents] == [
        ("abc.py", "abc"),
        ("contest/__init__.py", "contest"),
        ("email/mime/text.py", "email"),
        ("plain.py", "plain"),
        ("template.py", "template"),
    ]


def test_docstrings_come_in_source_order_and_sources_without_them_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_stdlib(tmp_path, monkeypatch)
    found = [d for d in embedded("stdlib-docs").documents if d.group != "pydoc_data"]
    assert [d.name for d in found] == ["abc.py", "contest/__init__.py", "email/mime/text.py"]
    assert found[0].data == b"About abc.py.\n\nA.\n\nF."


def test_a_python_without_sources_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match=r"as \.py files"):
        embedded("stdlib")


def test_the_standard_library_of_this_python_splits_by_module():
    found: Corpus = embedded("stdlib")
    assert sum(len(d.data) for d in found.documents) > 3_000_000
    assert len({d.name for d in found.documents}) == len(found.documents)
    sides = split(found.documents)
    held_out = sum(len(d.data) for d in sides.held_out)
    assert 0.02 < held_out / sum(len(d.data) for d in found.documents) < 0.25
    assert {d.group for d in sides.held_out}.isdisjoint(
        {d.group for d in sides.train} - {d.group for d in sides.moved}
    )
