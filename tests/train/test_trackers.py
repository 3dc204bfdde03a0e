"""Trackers show what metrics.jsonl says, the whole of it once, and never stand in the way of a run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf import registry
from bytegolf.data.dataset import Dataset
from bytegolf.errors import ConfigError
from bytegolf.train.fit import fit
from bytegolf.train.loop import StepRecord
from bytegolf.train.run_dir import METRICS, WEIGHTS, MetricsFile
from bytegolf.train.tracking import VALIDATION, Point, Tracking
from tiny import tiny_config, tiny_dataset

NAMES = registry.names("tracker")
Series = dict[str, dict[int, float]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def need(*names: str) -> None:
    for name in names:
        pytest.importorskip(name, reason=f"{name} is not installed: its tracker is not tested")


def from_the_run(run: Path) -> Series:
    """Name -> step -> value, as the two files have them."""
    series: Series = {}
    for line in (run / METRICS).read_text().splitlines():
        facts = json.loads(line)
        for key, value in facts.items():
            if key != "step" and value is not None:
                series.setdefault(key, {})[facts["step"]] = value
    if (run / VALIDATION).is_file():
        for line in (run / VALIDATION).read_text().splitlines():
            facts = json.loads(line)
            for key in ("bpb", "nats_per_token"):
                series.setdefault(f"validation/{key}", {})[facts["step"]] = facts[key]
    return series


def from_tensorboard(run: Path) -> Series:
    """By TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    events = {tag: reader.Scalars(tag) for tag in reader.Tags()["scalars"]}
    assert all(len({e.step for e in found}) == len(found) for found in events.values()), "a step came twice"
    return {tag: {e.step: e.value for e in found} for tag, found in events.items()}


def from_trackio(run: Path) -> Series:
    with closing(sqlite3.connect(run / "trackio" / "bytegolf.db")) as db:
        rows = db.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    series: Series = {}
    for name, step, metrics in rows:
        assert name == run.name
        for key, value in json.loads(metrics).items():
            assert step not in series.setdefault(key, {}), "a step came twice"
            series[key][step] = value
    return series


def in_float32(series: Series) -> Series:
    return {
        key: {step: float(np.float32(value)) for step, value in found.items()}
        for key, found in series.items()
    }


def train(dataset: Dataset, run: Path, *names: str, steps: int = 12, **options: Any) -> list[str]:
    """What was announced. With validation, as the command line has it."""
    from bytegolf.score.along import along

    said: list[str] = []
    config = tiny_config(f"train.steps={steps}", "train.validation={every=5, tokens=64}")
    tracking = Tracking(names, said.append)
    fit(
        config,
        dataset,
        run,
        device="cpu",
        announce=said.append,
        tracking=tracking,
        pauses=along(config, dataset, run, tracking.on_validation),
        **options,
    )
    return said


def test_every_tracker_reads_back_as_metrics_and_changes_no_weight(dataset: Dataset, tmp_path: Path) -> None:
    need("tensorboard", "trackio")
    said = train(dataset, tmp_path / "run", "tensorboard", "trackio")
    assert not [line for line in said if "tracker" in line]
    expected = from_the_run(tmp_path / "run")
    assert set(expected["loss"]) == set(range(1, 13))
    assert set(expected["validation/bpb"]) == {5, 10}
    assert from_tensorboard(tmp_path / "run") == in_float32(expected)
    assert from_trackio(tmp_path / "run") == expected
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["aside"]["trackers"] > 0, "opening them is no training"
    train(dataset, tmp_path / "plain")
    assert (tmp_path / "plain" / WEIGHTS).read_bytes() == (tmp_path / "run" / WEIGHTS).read_bytes()


def test_the_config_is_there(dataset: Dataset, tmp_path: Path) -> None:
    need("tensorboard", "trackio")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(dataset, tmp_path / "run", "tensorboard", "trackio", steps=2)
    reader = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    reader.Reload()
    text = reader.Tensors("config")[0].tensor_proto.string_val[0].decode()
    assert "| model.dim | 16 |" in text
    with closing(sqlite3.connect(tmp_path / "run" / "trackio" / "bytegolf.db")) as db:
        (stored,) = db.execute("SELECT config FROM configs").fetchone()
    assert json.loads(stored)["train"]["optimizers"].keys() == tiny_config().train.optimizers.keys()


class KilledError(Exception):
    pass


class KillAt:
    """A hook that stands in for a kill: what comes after the checkpoint of step 7 is lost."""

    def on_step(self, record: StepRecord) -> None:
        if record.step == 9:
            raise KilledError

    def close(self) -> None: ...


def test_a_run_that_goes_on_continues_the_series_without_gap_or_repetition(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("tensorboard", "trackio")
    run = tmp_path / "run"
    from bytegolf.train.checkpoint import KeepCheckpoints

    monkeypatch.setattr(KeepCheckpoints, "due", lambda self, record: record.step == 7)
    with pytest.raises(KilledError):
        train(dataset, run, "tensorboard", hooks=[KillAt()])
    said = train(dataset, run, "tensorboard", "trackio", resume=True)  # trackio comes in here
    assert any("after step 7" in line for line in said)
    expected = from_the_run(run)
    assert set(expected["loss"]) == set(range(1, 13))
    assert from_tensorboard(run) == in_float32(expected)
    assert from_trackio(run) == expected


def comes(file: Path, words: bytes) -> None:
    """wandb writes from a process of its own, which may be behind for a moment."""
    end = time.monotonic() + 30
    while words not in file.read_bytes():
        assert time.monotonic() < end, words
        time.sleep(0.05)


def test_wandb_stays_offline_and_is_the_same_run_after_a_resume(dataset: Dataset, tmp_path: Path) -> None:
    need("wandb")
    said = train(dataset, tmp_path / "run", "wandb", steps=6)
    assert not [line for line in said if "tracker" in line]
    files = list((tmp_path / "run" / "wandb").rglob("*.wandb"))
    assert len(files) == 1
    assert files[0].parent.name.startswith("offline-run-")
    comes(files[0], b"grad_norm")
    comes(files[0], b"validation/bpb")
    tracking = Tracking(["wandb"], said.append)
    tracking.open(tmp_path / "run", tiny_config())
    tracking.close()
    again = list((tmp_path / "run" / "wandb").rglob("*.wandb"))
    assert [path.name for path in again] == [files[0].name]
    comes(again[0], b"validation/bpb")
    assert not [line for line in said if "tracker" in line]


class Breaks:
    """A tracker that breaks where `at` says."""

    at = ""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        if self.at == "init":
            raise OSError("disk full\nand more")

    def log(self, points: Sequence[Point]) -> None:
        if self.at == "log" and points and points[-1].step == 3:
            raise ValueError("no such thing")

    def close(self) -> None:
        if self.at == "close":
            raise RuntimeError


@pytest.mark.parametrize(
    ("at", "line"),
    [
        ("init", "tracker trackio cannot begin: OSError: disk full; the run goes on without it"),
        ("log", "tracker trackio failed at step 3: ValueError: no such thing; the run goes on without it"),
        ("close", "tracker trackio failed at its end: RuntimeError: ; the run goes on without it"),
    ],
)
def test_a_tracker_that_fails_is_one_line_and_the_run_and_the_others_go_on(
    at: str, line: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("tensorboard", "trackio")
    monkeypatch.setattr(Breaks, "at", at)
    import bytegolf.train.trackers.trackio as module

    monkeypatch.setattr(module, "Trackio", Breaks)
    said = train(dataset, tmp_path / "run", "trackio", "tensorboard")
    assert [text for text in said if text.startswith("tracker ")] == [line]
    assert from_tensorboard(tmp_path / "run") == in_float32(from_the_run(tmp_path / "run"))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_library_is_an_error_with_the_pip_line_before_anything_is_done(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # what import finds for a library that is not there
    with pytest.raises(ConfigError, match=f"needs the library {name}") as caught:
        Tracking([name], print)
    assert f'pip install "bytegolf[{name}]"' in str(caught.value)


def test_an_unknown_tracker_is_an_error_with_the_closest_name() -> None:
    with pytest.raises(ConfigError, match="unknown tracker 'tensorbord'") as caught:
        Tracking(["tensorbord"], print)
    assert "'tensorboard'" in str(caught.value)


def test_no_tracker_is_imported_unless_it_is_named() -> None:
    program = (
        "import sys; import bytegolf.train.fit; from bytegolf.train.tracking import Tracking;"
        f"Tracking([], print); print([n for n in {NAMES!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


RANKS = """
import sys
from pathlib import Path
import ranks
from bytegolf.data.dataset import open_dataset
from bytegolf.train.tracking import Tracking

data, run = open_dataset(Path(sys.argv[1])), Path(sys.argv[2])

def work(world):
    said = []
    tracking = Tracking(["trackio"], said.append)
    ranks.fit(ranks.tiny_config(*ranks.CONFIG), data, run, device="cpu", world=world, tracking=tracking)
    return said

assert ranks.together(2, work) == [[], []]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the ranks of this test are forks")
def test_several_ranks_have_one_series(dataset: Dataset, tmp_path: Path) -> None:
    need("trackio")
    words = [sys.executable, "-c", RANKS, str(dataset.folder), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    assert from_trackio(tmp_path / "run") == from_the_run(tmp_path / "run")


def test_what_is_unknown_is_left_out_and_mfu_is_passed_on(tmp_path: Path) -> None:
    need("trackio")
    tracking = Tracking(["trackio"], print)
    run = tmp_path / "run"
    run.mkdir()
    tracking.open(run, tiny_config())
    metrics = MetricsFile(run / METRICS, flops_per_token=100.0, peak_flops=1e6, tracking=tracking)
    metrics.on_step(StepRecord(1, 2.0, 10, 0.5, 0.1, 1.0, 3.0))
    metrics.on_step(StepRecord(2, 2.0, 1010, 1.0, 0.1, 1.0, 3.0))
    metrics.close()
    assert from_trackio(run)["mfu"] == {2: 1000 / 0.5 * 100 / 1e6}
