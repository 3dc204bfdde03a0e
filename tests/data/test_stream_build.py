"""A source is built in chunks as it would be in memory, by any number of processes, and after any interruption."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from build_samples import FORMS, defined, files, found, write_lines
from data_samples import prose
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import files as atomic_files
from bytegolf.data import build, source, spill
from bytegolf.data.build import build_dataset
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.pool import WorkerError, pool
from bytegolf.data.source import open_source
from bytegolf.data.tokenizer import BpeTokenizer, Learner
from bytegolf.errors import DataError

PROSE = [prose(str(i), 120).decode() + "Ünï" * (i % 3) for i in range(60)]
SMALL = st.text("ab\n", max_size=80) | st.text(max_size=5) | st.sampled_from(PROSE)


def by_bytes(path: Path, out: Path, **options: object) -> Path:
    arguments: dict[str, object] = {"tokenizer_kind": "bytes", "workers": 1, **options}
    return build_dataset(open_source(path), out, 257, **arguments).folder  # type: ignore[arg-type]


def in_small_parts(patch: pytest.MonkeyPatch, chunk: int = 3000, bucket: int = 2000) -> None:
    patch.setattr(source, "CHUNK_BYTES", chunk)
    patch.setattr(source, "MAX_FILES_OF_A_CHUNK", 7)
    patch.setattr(spill, "BUCKET_BYTES", bucket)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_small_parts(monkeypatch)
    return write_lines(tmp_path / "t.jsonl", [*PROSE, PROSE[0]])


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(texts=st.lists(SMALL, max_size=30), chunk=st.integers(60, 4000), bucket=st.integers(20, 4000))
def test_any_source_is_built_as_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, form: str, texts: list[str], chunk: int, bucket: int
):
    folder = tmp_path_factory.mktemp("any")
    path = folder / form
    FORMS[form](path, texts)
    with pytest.MonkeyPatch.context() as patch:
        in_small_parts(patch, chunk if form != "t" else 1 << 24, bucket)
        try:
            expected, error = defined(path), None
        except DataError as raised:
            expected, error = {}, raised
        if error is None:
            assert found(by_bytes(path, folder / "out")) == expected
        else:
            with pytest.raises(DataError) as other:
                by_bytes(path, folder / "out")
            assert str(other.value) == str(error)
    assert {p.name for p in folder.iterdir()} == {form} | ({"out"} if error is None else set())


@pytest.mark.parametrize("kind", [BpeTokenizer, CaseBpeTokenizer])
def test_tokenizers_that_learn_do_so_on_the_training_side(lines: Path, tmp_path: Path, kind: type[Learner]):
    out = build_dataset(
        open_source(lines), tmp_path / "out", 300, tokenizer_kind=kind.kind, shard_tokens=999, workers=1
    )
    assert found(out.folder) == defined(lines, kind, 300)
    assert len(out.manifest.splits.train.files) > 3


@pytest.mark.parametrize("form", ["t.jsonl", "t"])
def test_the_files_are_the_same_for_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
):
    in_small_parts(monkeypatch, 3000 if form != "t" else 1 << 24)
    path = FORMS[form](tmp_path / form, [*PROSE, PROSE[0]])
    assert len(list(open_source(path).chunks())) > 3
    one, two = (by_bytes(path, tmp_path / f"out{n}", workers=n, shard_tokens=999) for n in (1, 2))
    assert files(one) == files(two)


def test_a_large_source_holds_out_less_and_learns_from_a_part(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "HELD_OUT_BYTES", 1500)
    monkeypatch.setattr(build, "LARGE_BYTES", 18_000)
    monkeypatch.setattr(build, "LEARNT_BYTES", 2 << 20)
    whole = build_dataset(open_source(lines), tmp_path / "whole", 300, workers=1)
    monkeypatch.setattr(build, "LEARNT_BYTES", 5000)
    part = build_dataset(open_source(lines), tmp_path / "part", 300, workers=1)
    one_in = -(-lines.stat().st_size // 1500)
    assert one_in > 12
    entry = part.manifest.splits.val
    assert entry.bytes == whole.manifest.splits.val.bytes < lines.stat().st_size / 12
    text = part.text("train")
    assert part.tokenizer.to_bytes() != whole.tokenizer.to_bytes()
    documents = [part.tokenizer.decode(tokens) for tokens in part.documents("train")]
    beginning, size = [], 0
    for document in documents:
        beginning.append(document[: 5000 - size])
        size += len(beginning[-1])
        if size == 5000:
            break
    assert part.tokenizer.to_bytes() == BpeTokenizer.learn(beginning, 300).to_bytes()
    assert b"".join(documents) == text
    assert part.manifest.source.endswith("trained on the first 0 MiB of the training side")


def kill_at(patch: pytest.MonkeyPatch, call: int) -> Callable[[], int]:
    """Ctrl-C when the `call`-th file gets its name. Gives the number of calls so far."""
    calls = 0
    replace = os.replace

    def counted(*paths: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        replace(*paths)  # type: ignore[arg-type]

    patch.setattr(atomic_files.os, "replace", counted)
    return lambda: calls


def test_a_build_that_is_broken_off_anywhere_goes_on(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    in_small_parts(monkeypatch, 8000, 8000)
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 0)
        whole = files(by_bytes(lines, tmp_path / "whole"))
        total = calls()
    assert total > 12
    for call in range(1, total + 1):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, call)
            with pytest.raises(KeyboardInterrupt):
                by_bytes(lines, tmp_path / "out")
        assert {p.name for p in tmp_path.iterdir()} == {".out.build", "t.jsonl", "whole"}
        told: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            calls = kill_at(patch, 0)
            again = by_bytes(lines, tmp_path / "out", tell=told.append)
            assert calls() <= total - (call - 1) + 3  # tables and moved documents are written again
        assert files(again) == whole
        assert len(told) == (call > 1)  # before the first file there is nothing to go on with
        shutil.rmtree(again)


@pytest.mark.parametrize("failing", ["ShardWriter.add", "put_in_place", "settle"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_done_stays_when_the_machine_refuses(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, failure: BaseException
):
    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(f"bytegolf.data.build.{failing}", fail)
        with pytest.raises((KeyboardInterrupt, DataError)):
            by_bytes(lines, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("bytegolf.data.stages.Scan._do", pytest.fail)  # what is scanned is not scanned again
    assert found(by_bytes(lines, tmp_path / "out")) == defined(lines)


def test_other_options_and_another_source_begin_anew(lines: Path, tmp_path: Path):
    for change in ({"shard_tokens": 500}, {}):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, 9)
            with pytest.raises(KeyboardInterrupt):
                by_bytes(lines, tmp_path / "out")
        if not change:
            write_lines(lines, PROSE)
        told: list[str] = []
        out = by_bytes(lines, tmp_path / "out", tell=told.append, **change)
        assert len(told) == 1
        assert told[0].endswith("starting anew")
        assert found(out) == defined(lines)
        shutil.rmtree(out)


SCRIPT = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from bytegolf.data import build, source, spill

def die(*_):
    print(*(child.pid for child in active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    source.CHUNK_BYTES, spill.BUCKET_BYTES, build.settle = 3000, 2000, die
    build.build_dataset(
        source.open_source(sys.argv[1]), sys.argv[2], 257, tokenizer_kind="bytes", workers=2
    )
"""


def test_a_killed_build_leaves_no_process_and_goes_on(lines: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, lines, tmp_path / "out"], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    workers = [Path("/proc") / pid for pid in done.stdout.split()]
    assert len(workers) == 2
    until = time.monotonic() + 30
    while any(worker.exists() for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(worker.exists() for worker in workers) or not Path("/proc").exists()
    told: list[str] = []
    assert found(by_bytes(lines, tmp_path / "out", tell=told.append)) == defined(lines)
    assert len(told) == 1


class Dies:
    def begin(self) -> Callable[[int], None]:
        return os._exit


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(WorkerError, match="exit code 3"), pool(2) as crew:
        list(crew.run(Dies(), [3, 3, 3]))


def test_a_malformed_line_is_named_by_its_number_in_the_whole_file(lines: Path, tmp_path: Path):
    rows = lines.read_text().splitlines()
    rows[41] = '{"text": 3}'
    lines.write_text("\n".join(rows))
    for workers in (1, 2):
        with pytest.raises(DataError) as error:
            by_bytes(lines, tmp_path / "out", workers=workers)
        assert str(error.value.where).endswith("line 42")
        assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_line_that_is_too_long_is_named(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "MAX_LINE_BYTES", 5000)
    write_lines(lines, [*PROSE[:10], "x" * 5001, *PROSE[10:]])
    with pytest.raises(DataError, match="at most 5,000 bytes") as error:
        by_bytes(lines, tmp_path / "out")
    assert str(error.value.where).endswith("line 11")


@pytest.mark.parametrize(("change", "message"), [(Path.touch, "must not change"), (Path.unlink, "readable")])
def test_a_source_that_changes_is_an_error(
    lines: Path, tmp_path: Path, change: Callable[[Path], None], message: str
):
    def disturb(name: str, done: int, total: int) -> None:
        if name == "split" and done == 2:
            os.utime(lines, ns=(1, 1))
            change(lines)

    with pytest.raises(DataError, match=message):
        by_bytes(lines, tmp_path / "out", progress=disturb)
    assert not (tmp_path / "out").exists()


def test_empty_sources_are_errors(tmp_path: Path):
    write_lines(tmp_path / "t.jsonl", ["", ""])
    (tmp_path / "t.txt").write_bytes(b"")
    (tmp_path / "t").mkdir()
    for form in FORMS:
        with pytest.raises(DataError, match="hold some text"):
            by_bytes(tmp_path / form, tmp_path / "out")


def test_a_disk_that_is_too_small_is_said_before_the_work(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
        with pytest.raises(DataError, match="of disk"):
            by_bytes(lines, tmp_path / "out")
    assert found(by_bytes(lines, tmp_path / "out")) == defined(lines)


def test_one_build_at_a_time_writes_a_dataset(lines: Path, tmp_path: Path):
    def second(stage: str, done: int, total: int) -> None:
        with pytest.raises(DataError, match="one build at a time"):
            by_bytes(lines, tmp_path / "out")

    assert found(by_bytes(lines, tmp_path / "out", progress=second)) == defined(lines)


def test_a_dataset_that_was_set_aside_by_a_killed_build_comes_back(lines: Path, tmp_path: Path):
    before = files(by_bytes(lines, tmp_path / "out"))
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(DataError, match="does not overwrite"):
        by_bytes(lines, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_memory_does_not_grow_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_small_parts(monkeypatch, 1 << 15, 1 << 15)
    monkeypatch.setattr(build, "HELD_OUT_BYTES", 1 << 14)
    peaks = []
    for copies in (1, 4):
        texts = [prose(f"{copies} {i}", 400).decode() for i in range(80 * copies)]
        path = write_lines(tmp_path / f"t{copies}.jsonl", texts)
        del texts
        tracemalloc.start()
        by_bytes(path, tmp_path / f"out{copies}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
