"""`train --resume`, validation along the run, and what a job of several processes may do."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from test_interrupt import wait_for_a_line

from bytegolf.train.run_dir import WEIGHTS
from cli_samples import Answer, Lab, call


def stopped(lab: Lab, run: Path, *words: object) -> Answer:
    """A training that gets one Ctrl-C after its first step."""

    def press() -> None:
        wait_for_a_line(run / "metrics.jsonl")
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    answer = call("train", lab.preset, "--data", lab.data, "--out", run, "--steps", 90, *words)
    finger.join()
    return answer


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(lab: Lab, here: Path) -> None:
    answer = stopped(lab, here / "run")
    assert answer.code == 130
    assert "  or: bytegolf train --resume" in answer.out
    again = call("train", lab.preset, "--data", lab.data, "--out", here / "run")
    assert again.code == 2
    assert f"go on with it by --resume {here / 'run'}" in again.err or "exists already" in again.err
    resumed = call("train", "--resume", here / "run", "--json")
    assert (resumed.code, json.loads(resumed.out)["steps"]) == (0, 90)
    assert "resuming" in resumed.err
    assert call("train", lab.preset, "--data", lab.data, "--out", here / "whole", "--steps", 90).code == 0
    assert (here / "run" / WEIGHTS).read_bytes() == (here / "whole" / WEIGHTS).read_bytes()
    complete = call("train", "--resume", here / "run")
    assert complete.code == 2
    assert "the run is complete" in complete.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a CONFIG"),
        (("--resume", "nowhere"), "not the directory of a run that can go on"),
        (("pocket", "--resume", "nowhere"), "a run goes on as it was begun"),
        (("--resume", "nowhere", "--steps", "5"), "a run goes on as it was begun"),
        (("--resume", "nowhere", "--force"), "a run goes on as it was begun"),
    ],
)
def test_what_cannot_go_on_is_one_clear_error(words: tuple[str, ...], said: str, here: Path) -> None:
    answer = call("train", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert list(here.iterdir()) == []


def test_held_out_text_is_scored_along_the_run_beside_the_clock(lab: Lab, here: Path) -> None:
    words = ("--steps", 12, "-o", "train.validation={every=5, tokens=400}")
    answer = call("train", lab.preset, "--data", lab.data, "--out", "run", *words, "--json")
    assert answer.code == 0
    lines = [json.loads(line) for line in (here / "run" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    assert all(line["targets"] >= 399 and line["bytes"] > 0 and line["bpb"] > 0 for line in lines)
    assert lines[1]["bpb"] < lines[0]["bpb"]
    assert json.loads(answer.out)["aside"]["validation"] > 0
    assert f"step 10: {lines[1]['bpb']:.4f} bpb on {lines[1]['bytes']:,} held-out bytes" in answer.err
    plain = call("train", lab.preset, "--data", lab.data, "--out", "plain", "--steps", 12)
    assert plain.code == 0
    assert (here / "run" / WEIGHTS).read_bytes() == (here / "plain" / WEIGHTS).read_bytes()


def test_one_of_several_processes_does_not_pack(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    answer = call("pack", "run")
    assert answer.code == 2
    assert "only train and score divide their work" in answer.err
    monkeypatch.setenv("RANK", "1")  # what every process finds wrong in the same words is said once
    assert call("train", "poket") == Answer(2, "", "")
