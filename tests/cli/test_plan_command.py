"""`bytegolf plan` at the command line: every preset, what it prints, what it refuses; it writes nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bytegolf.config.load import preset_names
from cli_samples import Lab, call, listing


def planned(*words: object) -> dict[str, Any]:
    answer = call("plan", *words, "--json")
    assert answer.code == 0, answer.err
    assert answer.out.count("\n") == 1
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_plan(name: str) -> None:
    words = (name, "--no-probe", "--shrink")
    found = planned(*words)
    rows = found["bytes"]["roles"]
    rest = found["bytes"]["tokenizer"] + found["bytes"]["header"] + found["bytes"]["fixed"]
    assert sum(row["bytes"] for row in rows) + rest == found["bytes"]["total"]
    assert found["bytes"]["low"] < found["bytes"]["total"] < found["bytes"]["high"]
    assert sum(row["elements"] for row in rows) == found["parameters"]
    assert (found["probe"], found["seconds"], found["steps"]) == (None, None, 50)


def test_a_plan_of_a_published_system_says_what_it_misses_and_exits_with_0(here: Path) -> None:
    answer = call("plan", "pr354-mla", "--no-probe", "-o", "model.layers=12", "--budget", 20_000_000)
    assert answer.code == 0
    assert "MISSES the budget by " in answer.out
    assert "-o model.layers=" in answer.out
    assert not list(here.iterdir())


def test_the_plan_of_a_run_names_its_bytes_before_it_is_trained(lab: Lab) -> None:
    before = listing(lab.root)
    found = planned(lab.preset, "--no-probe")
    assert found["bytes"]["total"] == pytest.approx(lab.artifact.stat().st_size, rel=0.06)
    assert listing(lab.root) == before


def test_proposals_are_options_that_plan_takes(lab: Lab) -> None:
    size = planned(lab.preset, "--no-probe")["bytes"]["total"]
    for budget in (size * 8 // 10, size * 2):
        found = planned(lab.preset, "--no-probe", "--budget", budget)
        assert found["budget"] == budget
        assert found["left"] == budget - found["bytes"]["total"]
        assert found["proposals"]
        for proposal in found["proposals"][:1]:
            options = shlex.split(proposal["options"])
            again = planned(lab.preset, "--no-probe", "--budget", budget, *options)
            assert again["bytes"]["total"] == proposal["total"]


def test_the_probe_gives_steps_and_tokens_within_the_seconds(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bytegolf.train import probe

    monkeypatch.setattr(probe.probe, "__defaults__", ("auto", 0.2, lambda line: None))
    found = planned(lab.preset, "--seconds", 5, "--device", "cpu")
    assert found["seconds"] == 5
    assert found["steps"] * found["probe"]["seconds_per_step"] >= 5
    assert found["tokens"] == found["steps"] * 2 * 32
    assert found["probe"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["poket"], "did you mean 'pocket'"),
        (["nowhere.toml"], "cannot read the config file"),
        (["pocket", "-o", "model.width=3"], "model.width: unknown key"),
        (["pocket", "-o", "pack.codecs.matrix=int9"], "unknown codec 'int9'"),
        (["pocket", "-o", "pack.overrides=[{part='mlb', codec='int5'}]"], "a slot of a layer"),
        (["pocket", "--budget", "0"], "Invalid value for '--budget'"),
        (["pocket", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["pocket", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_plan_refuses(here: Path, words: list[str], says: str) -> None:
    answer = call("plan", *words)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err
    assert "Traceback" not in answer.err
