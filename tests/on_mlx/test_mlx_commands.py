"""The whole way by commands on MLX: train, stop, go on, pack, score, generate, verify, prove; and without mlx."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import twins  # noqa: F401  (skips this file where mlx is missing)

from bytegolf.train.run_dir import METRICS, SUMMARY, WEIGHTS
from cli_samples import Answer, call

VOCAB = 280
SMALL = {
    "model.vocab_size": VOCAB,
    "model.layers": 3,
    "model.context": 32,
    "train.rows": 2,
    "train.precision": "fp32",
    "score.stride": 32,
}
OVERRIDES = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
TRAIN = ("train", "pr342-mlx", "--shrink", *OVERRIDES)


def told(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents of 300 bytes over made-up words."""
    root, stream = tmp_path_factory.mktemp("mlx"), random.Random(0)
    words = ["".join(stream.choices("abcdefghiklmnop", k=stream.randint(2, 7))) for _ in range(120)]
    (root / "source").mkdir()
    for number in range(40):
        text = "\n".join(" ".join(stream.choices(words, k=8)) for _ in range(7))
        (root / "source" / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    answer = call("data", "build", "--source", root / "source", "--out", root / "data", "--vocab", VOCAB)
    assert answer.code == 0, answer.err
    return root / "data"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty steps of PR 342, packed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    words = ("--data", data, "--out", folder, "--backend", "mlx", "--steps", 30)
    summary = told(call(*TRAIN, *words, "--json"))
    assert (summary["backend"], summary["steps"], set(summary["libraries"])) == ("mlx", 30, {"mlx", "numpy"})
    assert told(call("pack", folder, "--json"))["artifact"] == str(folder / "model.golf")
    return folder


@pytest.mark.slow
def test_its_loss_falls(run: Path) -> None:
    losses = [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]
    assert len(losses) == 30
    assert sum(losses[-5:]) < sum(losses[:5]) - 1.0


@pytest.mark.slow
def test_it_scores_the_same_on_both_backends(run: Path, data: Path) -> None:
    words = ("score", run / "model.golf", "--data", data, "--no-baselines", "--json")
    scores = {name: told(call(*words, "--backend", name)) for name in ("mlx", "torch")}
    for key in ("bpb", "unpacked_bpb"):
        assert scores["mlx"][key] == pytest.approx(scores["torch"][key], rel=1e-3)
    adapted = told(
        call(
            *words, "--backend", "mlx", "--no-unpacked", "--adapt", "sgd", "-o", "score.adaptation.chunk=500"
        )
    )
    assert adapted["bpb"] != scores["mlx"]["bpb"]


@pytest.mark.slow
def test_it_is_verified_and_proven(run: Path, data: Path) -> None:
    verdict = told(
        call("verify", run / "model.golf", "--data", data, "--sample", 80, "--backend", "mlx", "--json")
    )
    assert verdict["verdict"] == "pass"
    room = next(check for check in verdict["checks"] if check["id"] == "T9")
    assert room["status"] == "pass"
    quick = ("--threads", 1, "--lanes", 3, "--backend", "mlx")
    proof = told(call("prove", run / "model.golf", "--data", data, *quick, "--json"))
    assert proof["verdict"] == "pass"
    assert proof["bpb"]["exact"] == pytest.approx(proof["bpb"]["float_in_blocks"], rel=1e-2)


@pytest.mark.slow
def test_it_is_packed_to_a_size_and_speaks(run: Path, tmp_path: Path) -> None:
    size = (run / "model.golf").stat().st_size - 3000
    words = ("--fit", size, "--out", tmp_path / "fit.golf", "--calibration-tokens", 128)
    assert told(call("pack", run, *words, "--backend", "mlx", "--json"))["fit"]
    assert (tmp_path / "fit.golf").stat().st_size <= size
    spoken = [
        told(
            call("generate", run / "model.golf", "--prompt", "ab", "--tokens", 8, "--backend", name, "--json")
        )
        for name in ("mlx", "torch")
    ]
    assert spoken[0] == spoken[1]


def stopped(folder: Path, *words: object) -> None:
    """A training that gets one Ctrl-C after its first step."""

    def press() -> None:
        metrics = folder / METRICS
        while not (metrics.is_file() and metrics.stat().st_size):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press, daemon=True)
    finger.start()
    assert call("train", *words, "--out", folder).code == 130
    finger.join()


@pytest.mark.slow
@pytest.mark.parametrize(("begins", "goes_on"), [("mlx", "mlx"), ("torch", "mlx"), ("mlx", "torch")])
def test_a_run_that_was_stopped_goes_on(begins: str, goes_on: str, data: Path, tmp_path: Path) -> None:
    """On its own backend bit for bit, on the other from the same state."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    steps = {"mlx": 16, "torch": 40}[begins]  # enough that Ctrl-C comes before the last
    words = (*TRAIN[1:], "--data", data, "--backend", begins, "--steps", steps)
    assert call("train", *words, "--out", whole).code == 0
    stopped(cut, *words)
    answer = call("train", "--resume", cut, "--backend", goes_on, "--json")
    again = told(answer)
    assert (again["steps"], again["backend"]) == (steps, goes_on)
    assert "after step" in answer.err
    losses = [json.loads((folder / METRICS).read_text().splitlines()[-1])["loss"] for folder in (whole, cut)]
    if begins == goes_on:
        assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    else:
        assert f"begun on {begins} goes on on {goes_on}" in answer.err
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_auto_goes_on_with_the_backend_of_the_run(data: Path, tmp_path: Path) -> None:
    told(call(*TRAIN, "--data", data, "--out", tmp_path / "run", "--backend", "mlx", "--steps", 2, "--json"))
    (tmp_path / "run" / SUMMARY).unlink()
    answer = call("train", "--resume", tmp_path / "run", "--json")
    assert told(answer)["backend"] == "mlx"
    assert "backend mlx: the run was begun with it" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backend", "mxl"), "unknown backend 'mxl'"),
        (("--backend", "mlx", "--device", "cuda"), "knows no device 'cuda'"),
        (("--backend", "mlx", "--device", "gpu"), "has no gpu"),
        (("--backend", "torch", "--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_what_cannot_be_is_one_clear_error(words: tuple[str, ...], said: str, run: Path) -> None:
    answer = call("generate", run / "model.golf", *words)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_under_torchrun_mlx_is_refused(run: Path) -> None:
    job = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    words = ("score", str(run / "model.golf"), "--backend", "mlx")
    done = subprocess.run(
        [sys.executable, "-m", "bytegolf", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **job},
    )
    assert done.returncode == 2
    assert "the backend mlx trains and scores in one process" in done.stderr


@pytest.mark.slow
def test_a_sweep_runs_on_it(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: no sweep on MLX")
    overrides = "\n".join(f"{key} = {json.dumps(value)}" for key, value in SMALL.items())
    (tmp_path / "clip.toml").write_text(
        f'base = "pr342-mlx"\nshrink = true\nseeds = [1]\nbudget = {{ steps = 2 }}\ndata = "{data}"\n'
        f"[grid]\ntrain.clip = [0.5]\n[overrides]\n{overrides}\n",
        encoding="utf-8",
    )
    words = ("sweep", tmp_path / "clip.toml", "--out", tmp_path / "sweep", "--backend", "mlx", "--json")
    found = told(call(*words))
    assert [row["state"] for row in found["trials"]] == ["done"] * 2
    for path in (tmp_path / "sweep").rglob(SUMMARY):
        assert json.loads(path.read_text())["backend"] == "mlx"
