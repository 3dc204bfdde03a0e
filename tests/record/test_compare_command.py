"""compare and runs, on three seeds of one config and two of another."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from shop_samples import SEEDS, done

from bytegolf.train.run_ledger import LEDGER
from cli_samples import call

OTHER = (7, 42)


@pytest.fixture(scope="session")
def market(shop: Path) -> Path:
    """The shop, and two seeds of a config with another clip, in a folder of their own."""
    for seed in OTHER:
        run = shop / "others" / f"clip-{seed}"
        words = ("--data", shop / "data", "--out", run, "--seed", seed, "-o", "train.clip=0.001")
        done("train", shop / "tiny.toml", *words)
        done("pack", run)
        done("score", run / "model.golf", "--data", shop / "data", "--no-baselines")
    return shop


def runs(shop: Path, seeds: tuple[int, ...] = SEEDS) -> str:
    return ",".join(str(shop / "runs" / f"seed-{seed}") for seed in seeds)


def clipped(shop: Path) -> str:
    return ",".join(str(shop / "others" / f"clip-{seed}") for seed in OTHER)


def facts(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(*words, "--json").out)
    return found


def bpb(run: Path) -> float:
    (path,) = (run / "results").glob("score-*.json")
    return float(json.loads(path.read_text())["bpb"])


def test_two_recipes(market: Path) -> None:
    found = facts("compare", runs(market), clipped(market))
    a = [bpb(market / "runs" / f"seed-{seed}") for seed in SEEDS]
    b = [bpb(market / "others" / f"clip-{seed}") for seed in OTHER]
    assert found["gain"] == pytest.approx(statistics.fmean(a) - statistics.fmean(b))
    assert found["config_differences"] == {"train.clip": [1.0, 0.001]}
    assert set(found["signs"]) == {"7", "42"}
    (path,) = (market / "runs" / "seed-7" / "results").glob("score-*.json")
    scored = json.loads(path.read_text())
    assert found["margin_bpb"] == pytest.approx(0.005 * scored["targets"] / scored["bytes"] / math.log(2))
    assert (found["a"]["text"], found["a"]["text_bytes"]) == (scored["text_sha256"], scored["bytes"])
    assert found["cautions"] == []
    assert found["paired"]["gain"] == pytest.approx(found["gain"], abs=1e-9)
    low, high = found["paired"]["interval"]
    assert low <= found["paired"]["gain"] <= high


def test_a_recipe_against_itself_is_called_that_and_what_is_left_out_is_named(market: Path) -> None:
    answer = done("compare", runs(market, (7,)), runs(market, (42,)), "--margin", "0.003bpb")
    assert "the same config" in answer.out
    assert "not in A: seed-1337 (seed 1337, " in answer.out
    assert "too few runs" in answer.out, "Welch says nothing of one run an arm"


def test_a_record_is_an_arm_too(market: Path, record: Path) -> None:
    found = facts("compare", record, clipped(market))
    by_runs = facts("compare", runs(market), clipped(market))
    assert found["gain"] == pytest.approx(by_runs["gain"])
    assert found["config_differences"] is None


def test_what_cannot_be_compared_is_one_message(market: Path, tmp_path: Path) -> None:
    one = market / "runs" / "seed-7"
    (tmp_path / "submission.json").write_text("{}")
    for words, said in (
        ((one, market / "data"), "finished run"),
        ((one, one, "--margin", "0.005"), "unit"),
        ((one, one, "--prior-sd", "-1"), "above 0"),
        ((one, one, "--prior-sd", "none"), "how seeds spread"),
        ((one, tmp_path), "not the record"),
        ((one, one, "--text", "zz"), "no score"),
    ):
        answer = call("compare", *words)
        assert answer.code == 2, words
        assert said in answer.err
        assert "Traceback" not in answer.err


def test_the_ledger_as_a_table(market: Path) -> None:
    found = facts("runs", "list", "--folder", market / "runs")["runs"]
    assert {(run["run"], run["seed"], run["outcome"]) for run in found} == {
        (f"seed-{seed}", seed, "finished") for seed in SEEDS
    }
    shown = done("runs", "list", "--folder", market / "runs").out
    assert all(f"{bpb(market / 'runs' / f'seed-{seed}'):.5f}" in shown for seed in SEEDS)
    assert "no run was started" in done("runs", "list", "--folder", market / "data").out


def test_one_run_of_the_ledger(market: Path) -> None:
    found = facts("runs", "show", market / "runs" / "seed-7")
    assert [event["event"] for event in found["events"]][:4] == ["started", "finished", "packed", "scored"]
    assert "seed = 7" in found["config"]
    assert call("runs", "show", market / "data").code == 2


def test_the_best_by_text(market: Path) -> None:
    (rows,) = facts("runs", "best", "--folder", market / "runs")["texts"].values()
    (row,) = rows
    scores = {f"seed-{seed}": bpb(market / "runs" / f"seed-{seed}") for seed in SEEDS}
    assert row["mean"] == pytest.approx(statistics.fmean(scores.values()))
    assert row["sd"] == pytest.approx(statistics.stdev(scores.values()))
    assert (row["best_run"], row["best"]) == min(scores.items(), key=lambda item: item[1])
    assert row["without_score"] == 0


def test_a_ledger_that_was_changed_is_refused_by_name_of_the_line(market: Path, tmp_path: Path) -> None:
    lines = (market / "runs" / LEDGER).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER).write_bytes(b"".join([lines[0], *lines[2:]]))
    answer = call("runs", "list", "--folder", tmp_path)
    assert answer.code == 2
    assert "line 2 of the ledger" in answer.err
