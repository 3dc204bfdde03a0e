"""Sweeps of a tiny model in real processes: killed, shared, out of time, and what they say in the end."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytegolf.sweep.queue import Queue
from bytegolf.train.run_dir import STARTED, SUMMARY, WEIGHTS
from cli_samples import Lab, call, listing

pytest.importorskip("optuna", reason="optuna is not installed: sweeps are not tested")

LR = "train.optimizers.matrix.lr"


def spec_in(here: Path, lab: Lab, text: str) -> Path:
    path = here / "lr.toml"
    path.write_text(f'base = "{lab.preset}"\ndata = "{lab.data}"\n{text}', encoding="utf-8")
    return path


def started(spec: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "bytegolf", "sweep", str(spec), "--json"]
    return subprocess.Popen(words, cwd=spec.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    found: dict[str, Any] = json.loads(out)
    return found


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def trainings(sweep: Path) -> dict[str, list[str]]:
    """By trial: for each time that training began, how."""
    return {
        log.stem: re.findall(r"^\$ bytegolf train (--resume)?", log.read_text(), re.MULTILINE)
        for log in sorted((sweep / "work").glob("*.log"))
    }


def test_a_killed_sweep_keeps_what_is_done_and_goes_on_from_the_checkpoint(lab: Lab, here: Path) -> None:
    rest = f'checkpoint_every = 0.05\nbudget = {{ steps = 100 }}\n[grid]\n"{LR}" = [0.01, 0.03]'
    spec = spec_in(here, lab, f"seeds = 1\n{rest}")
    sweep, killed = here / "runs" / "lr", started(spec)
    second = sweep / "trial-001-seed1"
    wait_until(lambda: any((second / "checkpoints").glob("step-*.ckpt")), killed)
    killed.kill()
    killed.communicate()
    done = listing(sweep / "trial-000-seed1")
    assert (second / STARTED).is_file()
    assert not (second / SUMMARY).is_file()
    found = json.loads(call("sweep", spec, "--json").out)
    assert found["counts"] == {"done": 3, "failed": 0, "running": 0, "waiting": 0}
    assert listing(sweep / "trial-000-seed1") == done
    assert trainings(sweep) == {
        "trial-000-seed1": [""],
        "trial-001-seed1": ["", "--resume"],
        "trial-002-seed1": [""],
    }
    assert re.search(r"resuming .* after step [1-9]", (sweep / "work" / "trial-001-seed1.log").read_text())
    whole = call("train", sweep / "work" / "trial-001-seed1.toml", "--data", lab.data, "--out", "whole")
    assert whole.code == 0
    assert (second / WEIGHTS).read_bytes() == (here / "whole" / WEIGHTS).read_bytes()
    again = json.loads(call("sweep", spec, "--json").out)
    assert again["trials"] == found["trials"], "nothing is done twice"


def test_two_workers_at_once_do_every_trial_exactly_once(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, f'seeds = 2\nbudget = {{ steps = 10 }}\n[grid]\n"{LR}" = [0.01, 0.03]')
    both = [started(spec), started(spec)]
    answers = [answer(process) for process in both]
    sweep = here / "runs" / "lr"
    assert set(map(tuple, trainings(sweep).values())) == {("",)}
    assert len(trainings(sweep)) == 6
    assert max(found["counts"]["done"] for found in answers) == 6
    log = (sweep / "journal.log").read_text()
    assert (
        len({entry["worker_id"] for entry in map(json.loads, log.splitlines()) if entry["op_code"] == 6}) > 1
    )


def test_several_runs_at_a_time_in_one_command(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, 'seeds = [4, 9]\nbudget = { steps = 10 }\n[grid]\n"train.clip" = [0.5]')
    found = call("sweep", spec, "--workers", 2, "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["counts"]["done"] == 4
    assert set(map(tuple, trainings(here / "runs" / "lr").values())) == {("",)}


def test_a_typo_is_refused_before_anything_runs(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, f'[grid]\n"{LR}" = [0.01, 0.02]\n"train.clipp" = [0.5]')
    found = call("sweep", spec, "--json")
    assert found.code == 2
    error = json.loads(found.out)["error"]
    assert "train.clipp" in error["rule"]
    assert "did you mean 'clip'" in error["rule"]
    wrong = call("sweep", spec_in(here, lab, '[grid]\n"model.vocab_size" = [301]'))
    assert (wrong.code, "the model must have the tokenizer's vocabulary" in wrong.err) == (2, True)
    tracker = call("sweep", spec_in(here, lab, 'log = ["tensorbord"]'))
    assert (tracker.code, "unknown tracker" in tracker.err) == (2, True)
    assert [path.name for path in here.iterdir()] == ["lr.toml"]


def test_trials_that_fail_are_recorded_and_the_others_are_done(
    lab: Lab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_in(
        here,
        lab,
        "seeds = [5]\nbudget = { steps = 10 }\n[grid]\n"
        '"train.optimizers.embed" = [{ kind = "adamw", lr = 1e30 }]\n"pack.budget" = [100_000, 10]',
    )
    found = call("sweep", spec, "--json")
    assert found.code == 0, found.err
    result = json.loads(found.out)
    assert result["counts"] == {"done": 1, "failed": 2, "running": 0, "waiting": 0}
    assert [setting["is_base"] for setting in result["settings"]] == [True]
    assert all("the loss must stay finite" in error for error in result["failures"].values())
    again = call("sweep", spec)
    assert again.code == 0
    assert "failed: trial-001-seed5: the loss must stay finite" in again.out
    assert set(map(tuple, trainings(here / "runs" / "lr").values())) == {("",)}, (
        "a failure is not tried again"
    )
    alone = spec_in(here, lab, 'seeds = [5]\ninclude_base = false\n[grid]\n"pack.budget" = [10]')
    nothing = call("sweep", alone, "--out", here / "small", "--json")
    assert nothing.code == 1, "not one run succeeded"
    assert "BudgetError" not in nothing.out
    assert list(json.loads(nothing.out)["failures"]) == ["trial-000-seed5"]


def test_a_process_that_dies_costs_its_trial_alone(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, "seeds = 2\nbudget = { steps = 100 }")
    sweep, process = here / "runs" / "lr", started(spec)
    metrics = sweep / "trial-000-seed1" / "metrics.jsonl"
    wait_until(lambda: metrics.is_file() and metrics.stat().st_size > 0, process)
    os.kill(holder(sweep / "work" / "trial-000-seed1.lock", process.pid), signal.SIGKILL)
    found = answer(process)
    assert found["counts"] == {"done": 1, "failed": 1, "running": 0, "waiting": 0}
    assert "killed by SIGKILL; the machine may be short of memory" in found["failures"]["trial-000-seed1"]


def holder(lock: Path, but: int) -> int:
    """The process that has a file open, by /proc."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("which process has a file open is not to be found out here")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            opened = {os.readlink(link) for link in (folder / "fd").iterdir()}
        except OSError:
            continue
        if str(lock) in opened and int(folder.name) != but:
            return int(folder.name)
    raise AssertionError("nobody holds the lock")


def test_ctrl_c_saves_what_runs_and_the_same_command_goes_on(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, "seeds = 1\nbudget = { steps = 400 }")
    sweep, process = here / "runs" / "lr", started(spec)
    metrics = sweep / "trial-000-seed1" / "metrics.jsonl"
    wait_until(lambda: metrics.is_file() and metrics.stat().st_size > 0, process)
    process.send_signal(signal.SIGINT)
    stopped = answer(process, 130)
    assert (stopped["interrupted"], stopped["settings"]) == (True, [])
    steps = len(metrics.read_text().splitlines())
    assert 0 < steps < 400
    spec.write_text(spec.read_text().replace("400", "399"))
    other = call("sweep", spec)
    assert (other.code, "train.steps was 400 and is 399" in other.err) == (2, True)
    spec.write_text(spec.read_text().replace("399", "400"))
    found = json.loads(call("sweep", spec, "--json").out)
    assert found["counts"]["done"] == 1
    assert f"after step {steps:,}" in (sweep / "work" / "trial-000-seed1.log").read_text()


def test_no_run_begins_that_would_not_end_in_time(lab: Lab, here: Path) -> None:
    spec = spec_in(here, lab, "seeds = 3\nbudget = { seconds = 1000.0 }")
    refused = call("sweep", spec, "--seconds-total", 999, "--json")
    assert refused.code == 0, refused.err
    result = json.loads(refused.out)
    assert (result["out_of_time"], result["counts"]["waiting"]) == (True, 3)
    short = spec_in(here, lab, "seeds = 3\nseconds_total = 0.01\nbudget = { steps = 5 }")
    some = call("sweep", short, "--out", "short")
    assert some.code == 0
    assert (
        "the time is up: 2 runs were not begun" in some.out
    )  # nothing is known of the first, so it is begun
    rest = call("sweep", short, "--out", "short", "--seconds-total", 1000, "--json")
    assert json.loads(rest.out)["counts"]["done"] == 3


@pytest.fixture(scope="module")
def finished(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep in the objective before packing, and its JSON."""
    here = tmp_path_factory.mktemp("finished")
    text = f'seeds = [1, 2]\nobjective = "unpacked"\nbudget = {{ steps = 15 }}\n[grid]\n"{LR}" = [0.005, 0.1]'
    found = call("sweep", spec_in(here, lab, text), "--out", here / "s", "--json")
    assert found.code == 0, found.err
    return here / "s", json.loads(found.out)


def test_the_summary_is_what_the_run_directories_hold(finished: tuple[Path, dict[str, Any]]) -> None:
    sweep, result = finished
    by_setting: dict[int, dict[int, tuple[float, float]]] = {}
    for run in sorted(sweep.glob("trial-*")):
        setting, seed = (int(part) for part in re.fullmatch(r"trial-(\d+)-seed(\d+)", run.name).groups())  # type: ignore[union-attr]
        (kept,) = (run / "results").glob("score-*.json")
        facts = json.loads(kept.read_text())
        assert facts["artifact_bytes"] == (run / "model.golf").stat().st_size
        assert json.loads((run / SUMMARY).read_text())["seed"] == seed
        by_setting.setdefault(setting, {})[seed] = (facts["unpacked_bpb"], facts["bpb"])
        (trial,) = [trial for trial in result["trials"] if trial["name"] == run.name]
        assert (trial["facts"]["bpb"], trial["facts"]["artifact_bytes"]) == (
            facts["bpb"],
            facts["artifact_bytes"],
        )
    assert len(by_setting) == 3
    for setting in result["settings"]:
        scores = {seed: unpacked for seed, (unpacked, _) in by_setting[setting["setting"]].items()}
        assert {int(seed): score for seed, score in setting["scores"].items()} == scores
        assert setting["mean"] == pytest.approx(statistics.fmean(scores.values()))
        assert setting["sd"] == pytest.approx(statistics.stdev(scores.values()))
        assert setting["best_seed"] == min(scores, key=lambda seed: scores[seed])
    means = [setting["mean"] for setting in result["settings"]]
    assert means == sorted(means)
    pooled = math.sqrt(statistics.fmean(setting["sd"] ** 2 for setting in result["settings"]))
    assert result["selection"]["pooled_sd"] == pytest.approx(pooled)
    noise = result["selection"]["noise_sd"]
    assert result["selection"]["luck"] == pytest.approx(1.5 / math.sqrt(math.pi) * noise / math.sqrt(2))
    base = next(setting for setting in result["settings"] if setting["is_base"])["scores"]
    for setting in result["settings"]:
        if not setting["is_base"]:
            a, b = (setting["scores"][seed] - base[seed] for seed in ("1", "2"))
            p = 1 - 2 * math.atan(abs((a + b) / (a - b))) / math.pi  # Student's t with one degree of freedom
            assert setting["p"] == pytest.approx(p)


def test_show_trains_nothing_and_says_the_same(finished: tuple[Path, dict[str, Any]]) -> None:
    sweep, result = finished
    before = listing(sweep)
    shown = call("sweep", sweep.parent / "lr.toml", "--out", sweep, "--show", "--json")
    assert shown.code == 0
    again = json.loads(shown.out)
    assert {key: result[key] for key in again} == again
    table = call("sweep", sweep.parent / "lr.toml", "--out", sweep, "--show").out
    assert "bpb before packing" in table
    assert f"{again['settings'][0]['mean']:.4f}" in table
    assert "run the winner and the base on fresh seeds: any but 1, 2." in table
    assert "The best of 3 settings looks better than it is" in table
    assert listing(sweep) == before
    nowhere = call("sweep", sweep.parent / "lr.toml", "--out", sweep / "no", "--show")
    assert (nowhere.code, "no sweep has been started there" in nowhere.err) == (2, True)


def test_the_runs_of_a_sweep_are_ordinary_runs(lab: Lab, finished: tuple[Path, dict[str, Any]]) -> None:
    sweep, result = finished
    assert {row.state for row in Queue(sweep).rows()} == {"done"}
    run = sweep / result["trials"][1]["name"]
    config = (run / "config.toml").read_text()
    assert (sweep / "work" / f"{run.name}.toml").read_text() == config
    again = call("score", run / "model.golf", "--data", lab.data, "--no-baselines", "--no-unpacked", "--json")
    assert json.loads(again.out)["bpb"] == result["trials"][1]["facts"]["bpb"]
