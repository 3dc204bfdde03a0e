"""Several processes train as one does: same data, losses, weights and scores; clear words when one is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.cli.app import main
from bytegolf.errors import ConfigError
from bytegolf.launch import Launch, launched
from bytegolf.on_torch.optim.muon import shared_out
from tiny import BASE, tiny_dataset

Facts = dict[str, list[Any]]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the ranks of these tests are forks")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What the ranks of each scenario told (ranks.py)."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ranks.py")), str(tmp_path_factory.mktemp("ranks"))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: Facts = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", ["world", "parts"])
def test_any_number_of_processes_trains_the_same_model_on_the_same_data(kind: str, facts: Facts) -> None:
    (alone,) = facts[f"{kind} 1"]
    for size in (2, 4) if kind == "world" else (2,):
        ranks = facts[f"{kind} {size}"]
        assert len(ranks) == size
        for rank in ranks:
            assert rank["losses"] == pytest.approx(alone["losses"], rel=1e-5)
            assert rank["bpb"] == pytest.approx(alone["bpb"], rel=1e-6)
            steps, tokens, documents, _, averaged = alone["totals"]
            assert rank["totals"] == [steps, tokens, documents, size, averaged]
            assert (rank["weights"], rank["bpb"]) == (ranks[0]["weights"], ranks[0]["bpb"])
            assert rank["files"] == alone["files"]
    assert alone["totals"][2] > 0
    assert alone["totals"][4] is True


def test_a_run_of_two_processes_goes_on_with_one(facts: Facts) -> None:
    assert facts["stopped"] == [{"error": "enough"}] * 2
    (resumed,), (alone,) = facts["resumed by 1"], facts["world 1"]
    assert resumed["losses"] == pytest.approx(
        alone["losses"][2:], rel=1e-5
    )  # it was stopped in its third step
    assert resumed["bpb"] == pytest.approx(alone["bpb"], rel=1e-6)
    assert resumed["totals"] == alone["totals"]


def test_a_rank_that_is_lost_is_an_error_of_the_others(facts: Facts) -> None:
    left, dead = facts["dies"]
    assert dead is None
    assert "every process of the job must stay until the end" in left["error"]
    assert "--resume" in left["error"]


def test_a_rank_that_does_not_come_is_named_in_time(facts: Facts) -> None:
    assert facts["missing seconds"] < 20
    for rank in facts["missing"]:
        assert "all 3 processes of the job must start within 1 s" in rank["error"]
        assert "--join-seconds" in rank["error"]
    assert "2/3 clients joined" in facts["missing"][0]["error"] or "rank 2" in facts["missing"][0]["error"]
    assert "without rank" in facts["missing"][1]["error"]


def test_what_cannot_be_divided_says_what_can(facts: Facts) -> None:
    for rank in facts["uneven"]:
        assert "8 rows for 3 processes" in rank["error"]
    for rank in facts["adapts"]:
        assert "--adapt lora" in rank["error"]


@given(
    st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=40), st.integers(1, 9)
)
def test_the_matrices_of_muon_are_shared_out_evenly(shapes: list[tuple[int, int]], ranks: int) -> None:
    shares = shared_out(shapes, ranks)
    assert len(shares) == ranks
    assert sorted(i for share in shares for i in share) == list(range(len(shapes)))
    costs = [min(r, c) ** 2 * (2 * max(r, c) + min(r, c)) for r, c in shapes]
    loads = [sum(costs[i] for i in share) for share in shares]
    assert max(loads) <= sum(costs) / ranks + max(costs)


def test_what_torchrun_says_is_read_and_anything_else_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Launch()
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    assert launched() == Launch(3, 4, 1, 2, "job")
    for name, value in (("RANK", "4"), ("RANK", "-1"), ("WORLD_SIZE", "many"), ("LOCAL_RANK", "")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigError, match="one rank of a job"):
                launched()


def worker_of(agent: int, rank: int) -> int | None:
    """The process that torchrun started as this rank."""
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if folder.name.isdigit() and int(parent) == agent and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finding a rank needs Linux's /proc")
def test_a_job_of_torchrun_survives_the_death_of_a_rank(tmp_path: Path) -> None:
    """Rank 1 is killed in mid-run; the run ends with the losses of the undisturbed one."""
    data = tiny_dataset(tmp_path / "data").folder
    words = ["train", BASE, "--data", str(data), "--steps", "60", "--device", "cpu"]
    for override in (
        "model.vocab_size=257",
        "model.dim=16",
        "model.context=32",
        "train.rows=4",
        "train.precision=fp32",
        "score={stride=16}",
    ):
        words += ["-o", override]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert main([*words, "--out", str(whole)]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    options = ["--out", str(killed), "--checkpoint-every", "0.05"]
    with subprocess.Popen(
        [*torchrun, "--max-restarts=1", "-m", "bytegolf", *words, *options],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as job:
        deadline = time.monotonic() + 120
        while not list(killed.glob("checkpoints/*.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        victim = worker_of(job.pid, 1)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        told, _ = job.communicate(timeout=180)
    assert job.returncode == 0, told
    assert "resuming" in told
    found, expected = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (killed, whole)
    )
    assert [line["step"] for line in found] == list(range(1, 61))
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-4)
    assert not (killed / "checkpoints").exists()
