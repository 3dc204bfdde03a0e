"""A run directory is whole or says that it is not, and nothing that is no run is ever replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bytegolf.errors import ConfigError, RunError, UserError
from bytegolf.train.loop import StepRecord
from bytegolf.train.run_dir import (
    CONFIG,
    METRICS,
    SUMMARY,
    TOKENIZER,
    WEIGHTS,
    MetricsFile,
    clear_unfinished,
    create_run,
    finish_run,
    open_run,
)
from tiny import tiny_config

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(0.5, np.float32)}
RECORD = StepRecord(1, 2.12345678, 10, 0.5, 0.1, 1.0, 3.0)


def made(path: Path) -> Path:
    create_run(path, tiny_config(), b"tokens", force=False)
    finish_run(path, ARRAYS, {"steps": 3})
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = open_run(made(tmp_path / "deep" / "er" / "run"))
    assert (run.config, run.tokenizer, run.summary) == (tiny_config(), b"tokens", {"steps": 3})
    weights = run.weights()
    assert weights.keys() == ARRAYS.keys()
    assert all(
        np.array_equal(weights[name], array) and weights[name].shape == array.shape
        for name, array in ARRAYS.items()
    )
    assert {p.name for p in run.path.iterdir()} == {CONFIG, TOKENIZER, WEIGHTS, SUMMARY}


def test_a_run_in_the_way_is_replaced_only_by_force_and_then_whole(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    (path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already") as caught:
        create_run(path, tiny_config(), b"other", force=False)
    assert "--force" in str(caught.value)
    assert open_run(path).tokenizer == b"tokens"
    create_run(path, tiny_config(), b"other", force=True)
    assert {p.name for p in path.iterdir()} == {CONFIG, TOKENIZER}
    with pytest.raises(RunError, match="not the directory of a finished run"):
        open_run(path)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_run_is_never_replaced(tmp_path: Path, kind: str, force: bool) -> None:
    path = tmp_path / "thing"
    precious = path if kind == "file" else path / "thesis.tex"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(RunError, match="no run is in the way") as caught:
        create_run(path, tiny_config(), b"", force=force)
    assert "--force" not in str(caught.value)
    assert precious.read_text() == "precious"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    made(tmp_path)
    assert open_run(tmp_path).summary == {"steps": 3}


def occupied(tmp_path: Path, place: str) -> Path:
    (tmp_path / "file").write_text("regular")
    return tmp_path / place


@pytest.mark.parametrize("place", ["file/run", "file/deep/run", "x" * 300, "y/" + "x" * 300])
def test_a_place_that_cannot_be_is_a_run_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(RunError) as caught:
        create_run(occupied(tmp_path, place), tiny_config(), b"", force=True)
    assert caught.value.fix is not None
    with pytest.raises(RunError):
        MetricsFile(tmp_path / place / METRICS)
    with pytest.raises(RunError):
        finish_run(tmp_path / place, ARRAYS, {})
    with pytest.raises(RunError):
        open_run(tmp_path / place)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (SUMMARY, b"{"),
        (SUMMARY, b"\xff"),
        (SUMMARY, b"[]"),
        (CONFIG, b"a = ["),
        (CONFIG, b"\xff"),
        (CONFIG, b""),
        (CONFIG, None),
        (TOKENIZER, None),
        (SUMMARY, None),
    ],
)
def test_a_damaged_run_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = made(tmp_path / "run")
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    with pytest.raises((RunError, ConfigError)) as caught:
        open_run(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 100])
def test_damaged_weights_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = made(tmp_path / "run")
    (path / WEIGHTS).unlink()
    if content is not None:
        (path / WEIGHTS).write_bytes(content)
    with pytest.raises(RunError, match="cannot read the weights") as caught:
        open_run(path).weights()
    assert caught.value.where == path / WEIGHTS


def test_metrics_are_one_json_line_a_step_that_is_there_at_once(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / METRICS)
    for step in (1, 2):
        metrics.on_step(StepRecord(step, 2.12345678, 10 * step, 0.5, 0.1, 1.0, 3.0))
        lines = (tmp_path / METRICS).read_text().splitlines()
        assert len(lines) == step
    metrics.close()
    assert json.loads(lines[0]) == {
        "step": 1,
        "loss": 2.123457,
        "tokens": 10,
        "seconds": 0.5,
        "progress": 0.1,
        "lr_multiplier": 1.0,
        "grad_norm": 3.0,
        "documents": 0,
        "loader_wait": 0.0,
        "peak_bytes": 0,
        "mfu": None,
    }


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from bytegolf.errors import RunError
from bytegolf.train.loop import StepRecord
from bytegolf.train.run_dir import MetricsFile, create_run, finish_run
from tiny import tiny_config

def limit(n):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))

def refused(act):
    try:
        act()
    except RunError as error:
        assert "File too large" in str(error) and error.fix, error
    else:
        raise SystemExit("no error")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, config = Path(sys.argv[1]), tiny_config()
limit(100)
refused(lambda: create_run(path, config, b"t" * 50, force=False))
assert not path.exists(), list(path.iterdir())
limit(10_000)
create_run(path, config, b"t" * 50, force=False)
before = sorted(p.name for p in path.iterdir())
refused(lambda: finish_run(path, {"w": np.ones(5000, np.float32)}, {}))
assert sorted(p.name for p in path.iterdir()) == before
refused(lambda: finish_run(path, {"w": np.ones(5, np.float32)}, {"notes": "x" * 20_000}))
assert not (path / "run.json").exists()
metrics = MetricsFile(path / "metrics.jsonl")
def write():
    for step in range(1000):
        metrics.on_step(StepRecord(step, 1.0, 1, 1.0, 1.0, 1.0, 1.0))
refused(write)
print("as promised")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are a POSIX matter")
def test_a_full_disk_is_a_run_error_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout == "as promised\n", done.stderr


def test_every_refusal_is_a_user_error() -> None:
    assert issubclass(RunError, UserError)


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (".metrics.jsonl.123.tmp", "metrics.jsonl", "notes.tmp"):
        (tmp_path / name).write_text("x")
    clear_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "notes.tmp"]
