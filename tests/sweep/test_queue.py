"""The queue: every trial once, whatever dies in between, and no other sweep in the same folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bytegolf.errors import ConfigError, RunError
from bytegolf.sweep import locks
from bytegolf.sweep.queue import JOURNAL, Claim, Queue, Row, require_optuna
from bytegolf.sweep.spec import Spec
from bytegolf.sweep.trials import planned
from bytegolf.sweep.worker import Clock

optuna = pytest.importorskip("optuna", reason="optuna is not installed: sweeps are not tested")

BASE = str(Path(__file__).parents[1] / "base.toml")
DATA = {"1024": {"train_sha256": "a", "val_sha256": "b"}}
FACTS = {"bpb": 1.5, "seconds": 10.0}


def opened(folder: Path, data: dict[str, Any] = DATA, **keys: Any) -> Queue:
    spec = Spec.model_validate({"base": BASE, "seeds": 2, "grid": {"train.clip": [0.25, 0.75]}, **keys})
    return Queue.open(folder, spec, planned(spec, Path("x.toml")), data, print)


def always(rows: list[Row], row: Row) -> bool:
    return True


def claimed(queue: Queue) -> Claim:
    claim = queue.claim(always)
    assert claim is not None
    return claim


def states(queue: Queue) -> dict[str, str]:
    return {row.name: row.state for row in queue.rows()}


def test_trials_are_taken_in_order_each_once_and_keep_what_they_found(tmp_path: Path) -> None:
    queue, names = opened(tmp_path / "s"), []
    while (claim := queue.claim(always)) is not None:
        names.append(claim.row.name)
        assert states(queue)[claim.row.name] == "running"
        if claim.row.seed == 1:
            queue.finish(claim, FACTS, 1.5)
        else:
            queue.fail(claim, "it broke", {"seconds": 1.0})
    assert names == [f"trial-{setting:03d}-seed{seed}" for seed in (1, 2) for setting in (0, 1, 2)]
    rows = Queue(tmp_path / "s").rows()
    assert [(row.state, row.facts, row.error) for row in rows] == [("done", FACTS, "")] * 3 + [
        ("failed", {"seconds": 1.0}, "it broke")
    ] * 3
    assert [row.is_base for row in rows] == [True, False, False] * 2
    assert [row.values for row in rows[:3]] == [{}, {"train.clip": 0.25}, {"train.clip": 0.75}]


def test_a_trial_whose_worker_died_is_queued_again_once(tmp_path: Path) -> None:
    queue = opened(tmp_path / "s")
    lost, alive = claimed(queue), claimed(queue)
    lost.release()  # what the system does when the processes that hold the lock die
    third = claimed(queue)
    assert states(queue)[lost.row.name] == "waiting"
    assert states(queue)[alive.row.name] == "running"
    assert third.row.name not in (lost.row.name, alive.row.name)
    rest = []
    while (claim := queue.claim(always)) is not None:
        rest.append(claim)
    assert [claim.row.name for claim in rest][-1] == lost.row.name
    assert len({claim.row.name for claim in [alive, third, *rest]}) == 6
    assert rest[-1].run == lost.run


def test_a_kill_between_two_lines_of_the_journal_is_set_right(tmp_path: Path) -> None:
    queue = opened(tmp_path / "s")
    claim = claimed(queue)
    claim.release()
    second = claimed(queue)  # by now a copy of the first waits, and the first is closed
    second.release()
    lines = (tmp_path / "s" / JOURNAL).read_text().splitlines(keepends=True)
    closed = next(i for i, line in enumerate(lines) if '"op_code":6' in line and '"state":3' in line)
    (tmp_path / "s" / JOURNAL).write_text(
        "".join(lines[:closed]) + lines[closed][:20]
    )  # a kill, and half a line
    queue, names = Queue(tmp_path / "s"), []
    while (again := queue.claim(always)) is not None:
        names.append(again.row.name)
        queue.finish(again, FACTS, 1.5)
    assert sorted(names) == sorted({row.name for row in queue.rows()})
    assert len(names) == 6
    study = optuna.load_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / JOURNAL))
        ),
    )
    assert not [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]


def test_a_lock_left_in_the_journal_stops_nobody(tmp_path: Path) -> None:
    queue = opened(tmp_path / "s")
    (tmp_path / "s" / f"{JOURNAL}.lock").symlink_to(tmp_path / "s" / JOURNAL)
    claimed(queue).release()


def test_a_sweep_may_grow(tmp_path: Path) -> None:
    queue = opened(tmp_path / "s")
    queue.finish(claimed(queue), FACTS, 1.5)
    before = {row.name: row for row in queue.rows()}
    grown = opened(tmp_path / "s", seeds=3, grid={"train.clip": [0.1, 0.25, 0.75]}, seconds_total=5.0)
    after = {row.name: row for row in grown.rows()}
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == sorted(
        ["trial-003-seed1", "trial-003-seed2", *(f"trial-00{i}-seed3" for i in range(4))]
    )
    assert after["trial-003-seed1"].values == {"train.clip": 0.1}
    assert len(opened(tmp_path / "s", seeds=3, grid={"train.clip": [0.1, 0.25, 0.75]}).rows()) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overrides": {"model.dim": 32}}, "model.dim was"),
        ({"budget": {"steps": 9}}, "train.steps was"),
        ({"objective": "unpacked"}, "objective was bpb and is unpacked"),
        (
            {"data": {"1024": {"train_sha256": "c", "val_sha256": "b"}}},
            "data.1024.train_sha256 was a and is c",
        ),
        ({"seeds": [1]}, "no run with base, seed 2"),
        ({"grid": {"train.clip": [0.25]}}, "no run with train.clip = 0.75, seed 1"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_with_what_differs(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    before = opened(tmp_path / "s").rows()
    with pytest.raises(RunError) as caught:
        opened(tmp_path / "s", **change)
    assert said in str(caught.value)
    assert opened(tmp_path / "s").rows() == before


def test_what_is_no_sweep_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="something that is no sweep is in the way"):
        opened(tmp_path)
    with pytest.raises(RunError, match="no sweep has been started there"):
        Queue(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_optunas_own_tools_find_the_numbers(tmp_path: Path) -> None:
    queue = opened(tmp_path / "s")
    while (claim := queue.claim(always)) is not None:
        queue.finish(claim, FACTS, 1.5)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "s" / JOURNAL))
    )
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert [trial.value for trial in trials] == [1.5] * 6
    assert [trial.params for trial in trials[:3]] == [{}, {"train.clip": 0.25}, {"train.clip": 0.75}]


def test_a_lock_is_as_good_as_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    program = (
        "import sys, time; from pathlib import Path; from bytegolf.sweep import locks;"
        "held = locks.shared(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert locks.is_held(path)
    ours = locks.shared(path)
    assert ours is not None, "several may hold it"
    os.close(ours)
    assert locks.is_held(path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not locks.is_held(path)


def test_time_is_left_for_what_begins_and_for_what_runs() -> None:
    def row(name: str, setting: int, state: str, seconds: float | None = None) -> Row:
        facts = {} if seconds is None else {"seconds": seconds}
        return Row(name, setting, {}, False, "", 1, state, facts)

    rows = [row("a", 0, "done", 10.0), row("b", 1, "done", 30.0), row("c", 1, "failed", 5.0)]
    clock = Clock(100.0, 60.0)
    assert clock.expected([], row("x", 0, "waiting")) == 60.0
    assert Clock(100.0, None).expected([], row("x", 0, "waiting")) == 0.0
    assert clock.expected(rows, row("x", 1, "waiting")) == 30.0
    assert clock.expected(rows, row("x", 7, "waiting")) == 20.0
    assert clock.spent(rows) == 45.0
    running = [*rows, row("d", 0, "running")]
    assert clock.spent(running) == 55.0
    more = [*running, row("e", 0, "done", 15.0)]
    assert clock.spent(more) + clock.expected(more, row("x", 1, "waiting")) == 45 + 15 + 12.5 + 30
    assert not clock.allows(more, row("x", 1, "waiting"))
    assert clock.allows(running, row("x", 1, "waiting"))
    assert not Clock(84.0, None).allows(running, row("x", 1, "waiting"))
    assert Clock(None, None).allows(running, row("x", 1, "waiting"))


def test_without_optuna_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="needs the library optuna") as caught:
        require_optuna()
    assert 'pip install "bytegolf[sweep]"' in str(caught.value)


def test_the_file_of_a_sweep_says_what_is_compared(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    about = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert about["data"] == DATA
    assert about["spec"]["grid"] == {"train.clip": [0.25, 0.75]}
    (tmp_path / "s" / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="the sweep is damaged"):
        Queue(tmp_path / "s")
