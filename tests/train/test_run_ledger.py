"""A ledger tells of every change of its lines, loses none to writers at the same time, and knows how runs end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.load import with_overrides
from bytegolf.config.recipe import config_hash
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.errors import RunError, TrainingDivergedError
from bytegolf.train.attempts import attempts
from bytegolf.train.fit import fit
from bytegolf.train.loop import StepRecord
from bytegolf.train.run_ledger import HEAD, LEDGER, append, chronicled, noted, read_ledger
from tiny import tiny_config, tiny_dataset

FACTS = {"config_hash": "c", "seed": 1, "data": {"train_sha256": "d"}}


def a_ledger(folder: Path, lines: int = 6) -> list[bytes]:
    for number in range(lines):
        append(folder / f"run-{number % 2}", "started", **FACTS, number=number)
    return (folder / LEDGER).read_bytes().splitlines()


def write(folder: Path, lines: list[bytes]) -> None:
    (folder / LEDGER).write_bytes(b"".join(line + b"\n" for line in lines))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == []
    a_ledger(tmp_path)
    entries = read_ledger(tmp_path)
    assert [entry.facts["number"] for entry in entries] == list(range(6))
    assert {(entry.run, entry.event) for entry in entries} == {("run-0", "started"), ("run-1", "started")}


@given(data=st.data())
def test_no_line_can_be_altered_removed_or_moved(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    lines = a_ledger(folder)
    at = data.draw(st.integers(0, len(lines) - 2))
    match data.draw(st.sampled_from(["alter", "remove", "swap", "double", "cut"])):
        case "alter":
            byte = data.draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:byte] + bytes([lines[at][byte] ^ 1]) + lines[at][byte + 1 :]
        case "remove":
            del lines[at]
        case "swap":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case "double":
            lines.insert(at, lines[at])
        case "cut":
            lines[at] = lines[at][:-1]
    write(folder, lines)
    with pytest.raises(RunError, match=r"line \d+ of the ledger"):
        read_ledger(folder)


def test_a_ledger_without_its_end_or_gone_is_noticed_by_the_runs(tmp_path: Path) -> None:
    (tmp_path / "run-0").mkdir()
    lines = a_ledger(tmp_path, 3)
    append(tmp_path / "run-0", "finished")
    write(tmp_path, lines)
    with pytest.raises(RunError, match="missing at the end"):
        read_ledger(tmp_path)
    (tmp_path / LEDGER).unlink()
    with pytest.raises(RunError, match="missing at the end"):
        read_ledger(tmp_path)
    (tmp_path / "run-0" / HEAD).unlink()
    assert read_ledger(tmp_path) == []


def test_a_line_that_was_cut_off_in_writing_stops_everything_after_it(tmp_path: Path) -> None:
    a_ledger(tmp_path)
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b'{"previous":')
    with pytest.raises(RunError, match="line 7 of the ledger is cut"):
        read_ledger(tmp_path)
    with pytest.raises(RunError, match="middle of a line"):
        append(tmp_path / "run-0", "finished")


def _many(folder: str, name: str) -> None:
    for number in range(200):
        append(Path(folder) / name, "started", number=number)


def test_two_writers_at_once_lose_no_line_and_a_reader_beside_them_sees_no_half(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    writers = [context.Process(target=_many, args=(str(tmp_path), name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    seen = [0]
    while any(writer.is_alive() for writer in writers):
        seen.append(len(read_ledger(tmp_path)))
        time.sleep(0.001)  # writers wait for readers too
    for writer in writers:
        writer.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "it read while they wrote"
    entries = read_ledger(tmp_path)
    for name in ("a", "b"):
        assert [entry.facts["number"] for entry in entries if entry.run == name] == list(range(200))


def test_a_line_may_be_longer_than_what_is_read_of_the_end(tmp_path: Path) -> None:
    for size in (70_000, 3, 200_000, 70_000):
        append(tmp_path / "run", "failed", error="x" * size)
    assert [len(entry.facts["error"]) for entry in read_ledger(tmp_path)] == [70_000, 3, 200_000, 70_000]


def test_how_a_run_ended_is_written_whatever_happens(tmp_path: Path) -> None:
    with chronicled(tmp_path / "good", "started", FACTS, print) as end:
        end |= {"interrupted": False, "steps": 3}
    with chronicled(tmp_path / "stopped", "started", FACTS, print) as end:
        end |= {"interrupted": True, "steps": 2}
    with (
        pytest.raises(RunError),
        chronicled(tmp_path / "bad", "started", FACTS, print),
    ):
        raise RunError("the disk is full")
    outcome = {attempt.run: (attempt.outcome, attempt.end) for attempt in attempts(read_ledger(tmp_path))}
    assert outcome == {
        "good": ("finished", {"steps": 3}),
        "stopped": ("interrupted", {"steps": 2}),
        "bad": ("failed", {"error": "the disk is full"}),
    }


def test_a_ledger_that_cannot_be_written_is_a_line_and_no_error(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    told: list[str] = []
    noted(tmp_path / "run", told.append, "packed")
    assert told[0].startswith(f"not in the ledger {tmp_path / LEDGER}")


def test_attempts_are_told_apart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    append(run, "started", **FACTS)  # killed, and replaced by
    append(run, "started", **FACTS)
    append(run, "interrupted", steps=4)
    append(run, "resumed", **FACTS)
    append(run, "finished", steps=9)
    append(run, "packed", artifact_sha256="one")
    append(run, "scored", bpb=1.5)
    append(run, "packed", artifact_sha256="two")
    append(tmp_path / "elsewhere", "scored", bpb=1.0)
    first, second = attempts(read_ledger(tmp_path))
    assert (first.outcome, first.replaced, first.scores) == ("no end", True, [])
    assert (second.outcome, second.replaced, second.end) == ("finished", False, {"steps": 9})
    assert second.packed == {"artifact_sha256": "two"}
    assert second.newest() == {"bpb": 1.5}, "a score stays with the run when it is packed again"


def test_a_score_is_found_by_its_text(tmp_path: Path) -> None:
    run = tmp_path / "run"
    append(run, "started", **FACTS)
    for text, bpb in (("one", 1.5), ("two", 1.25), ("one", 1.4)):
        append(run, "scored", bpb=bpb, text_sha256=text)
    (attempt,) = attempts(read_ledger(tmp_path))
    assert [(attempt.newest(text) or {}).get("bpb") for text in (None, "one", "two", "three")] == [
        1.4,
        1.4,
        1.25,
        None,
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def outcomes(folder: Path) -> list[tuple[str, str, bool]]:
    return [(attempt.run, attempt.outcome, attempt.replaced) for attempt in attempts(read_ledger(folder))]


class Killed:
    """A hook that kills its own process in the second step, with no time for last words."""

    def on_step(self, record: StepRecord) -> None:
        if record.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        pass


def _train_until_killed(data: str, out: str) -> None:
    fit(tiny_config(), open_dataset(Path(data)), Path(out), device="cpu", hooks=[Killed()])


def test_a_run_that_was_killed_stands_without_an_end_until_it_goes_on(
    dataset: Dataset, tmp_path: Path
) -> None:
    words = (str(dataset.folder), str(tmp_path / "run"))
    process = multiprocessing.get_context("spawn").Process(target=_train_until_killed, args=words)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert outcomes(tmp_path) == [("run", "no end", False)]
    fit(tiny_config(), dataset, tmp_path / "run", device="cpu", resume=True)
    assert outcomes(tmp_path) == [("run", "finished", False)]
    (started, *_), config = read_ledger(tmp_path), tiny_config()
    assert (started.facts["config_hash"], started.facts["seed"]) == (config_hash(config), config.train.seed)


def test_a_run_that_diverged_says_why_and_force_leaves_its_lines(dataset: Dataset, tmp_path: Path) -> None:
    wild = tiny_config("train.optimizers.scalar.lr=1e30", "train.steps=30")
    with pytest.raises(TrainingDivergedError) as caught:
        fit(wild, dataset, tmp_path / "run", device="cpu")
    (attempt,) = attempts(read_ledger(tmp_path))
    assert (attempt.outcome, attempt.end) == ("failed", {"error": caught.value.rule})
    fit(tiny_config(), dataset, tmp_path / "run", device="cpu", force=True)
    assert outcomes(tmp_path) == [("run", "failed", True), ("run", "finished", False)]


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 10**6))
def test_seeds_and_names_are_no_part_of_a_recipe_and_all_else_is(seed: int, steps: int) -> None:
    config = tiny_config(f"train.steps={steps}")
    assert config_hash(config) == config_hash(
        with_overrides(config, [f"train.seed={seed}", "name=x", "about=y"])
    )
    assert config_hash(config) != config_hash(with_overrides(config, [f"train.steps={steps + 1}"]))


def test_each_line_is_json_on_its_own(tmp_path: Path) -> None:
    for line in a_ledger(tmp_path):
        assert json.loads(line)["event"] == "started"
