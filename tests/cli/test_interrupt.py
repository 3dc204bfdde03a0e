"""Ctrl-C: the first stops, averages and saves; the second ends the command at once. Exit code 130 both times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from cli_samples import Lab, call

PATIENCE = 120  # seconds; only a hanging command needs them


def wait_for_a_line(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and "\n" in path.read_text()):
        assert time.monotonic() < deadline, f"nothing came to {path}"
        time.sleep(0.01)


@contextmanager
def running(*words: object, until: Path) -> Iterator[subprocess.Popen[str]]:
    """`bytegolf WORDS` as a process of its own, once the file `until` has its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bytegolf", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for_a_line(until)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_one_ctrl_c_saves_a_run_that_can_be_packed(lab: Lab, here: Path) -> None:
    words = ("train", lab.preset, "--data", lab.data, "--out", "run", "--seconds", 600, "--json")
    with running(*words, until=here / "run" / "metrics.jsonl") as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert json.loads(out)["interrupted"] is True
    assert "Traceback" not in err
    assert "next: bytegolf pack run" in err
    saved = json.loads((here / "run" / "run.json").read_text())
    assert saved["interrupted"] is True
    assert saved["steps"] == len((here / "run" / "metrics.jsonl").read_text().splitlines()) >= 1
    assert (here / "run" / "weights.safetensors").is_file()
    assert call("pack", "run").code == 0


def test_two_ctrl_c_end_at_once(lab: Lab, here: Path) -> None:
    # A model so wide that a step takes seconds: both signals fall into the second step.
    wide = ("-o", "model.dim=512", "-o", "model.mlp.hidden=2048", "-o", "train.rows=32")
    words = ("train", lab.preset, "--data", lab.data, "--out", "run", "--steps", 1000, *wide, "--json")
    with running(*words, until=here / "run" / "metrics.jsonl") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)  # two signals at the same moment are one
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert json.loads(out)["error"]["rule"] == "interrupted"
    assert "Traceback" not in err
    left = {path.name for path in (here / "run").iterdir()}
    assert left == {"config.toml", "tokenizer.bin", "started.json", "metrics.jsonl", "ledger.json"}
    assert call("pack", "run").code == 2


def test_ctrl_c_in_the_training_of_a_demo_ends_the_demo(lab: Lab, here: Path) -> None:
    def press() -> None:
        wait_for_a_line(here / "run" / "metrics.jsonl")
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    words = ("--preset", lab.preset, "--data", lab.data, "--seconds", PATIENCE, "--out", "run", "--json")
    answer = call("demo", *words)
    finger.join()
    assert answer.code == 130
    assert json.loads(answer.out)["interrupted"] is True
    assert "$ bytegolf train" in answer.err
    assert "$ bytegolf pack" not in answer.err


@pytest.mark.parametrize("command", ["pack", "demo"])
def test_ctrl_c_outside_the_training_loop_is_no_traceback(
    lab: Lab, here: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("bytegolf.artifact.format.write", interrupted)
    demo = ("demo", "--preset", lab.preset, "--data", lab.data, "--seconds", 1, "--out", "run")
    answer = call(*(demo if command == "demo" else ("pack", lab.run)))
    assert answer.code == 130
    assert answer.err.endswith("interrupted\n")
    assert "$ bytegolf score" not in answer.out
