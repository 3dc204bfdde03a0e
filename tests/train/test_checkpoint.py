"""A run that is killed goes on as if nothing had happened, from the newest checkpoint that is whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bytegolf import files
from bytegolf.config.schema import Config
from bytegolf.data.dataset import Dataset
from bytegolf.data.loader import Batches
from bytegolf.data.shards import HEADER_BYTES
from bytegolf.errors import DataError, RunError, TrainingDivergedError
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch import trainer as trainers
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.train import checkpoint as checkpoints_module
from bytegolf.train.checkpoint import MAGIC, Checkpoint, Checkpoints
from bytegolf.train.fit import check_same_data, fit
from bytegolf.train.loop import Done, StepRecord, warm_up
from bytegolf.train.run_dir import CHECKPOINTS, METRICS, SUMMARY, WEIGHTS, Started, open_run, unfinished_run
from tiny import tiny_config, tiny_dataset

AVERAGES = {
    "none": "{kind='none'}",
    "ema": "{kind='ema', decay=0.8}",
    "swa": "{kind='swa', below=1.0, every=2}",
}
arrays = st.dictionaries(
    st.text("abc/.0", min_size=1, max_size=5),
    st.builds(
        lambda kind, shape, seed: np.random.default_rng(seed).integers(0, 99, shape).astype(kind),
        st.sampled_from(["float32", "float64", "int64", "uint8"]),
        st.lists(st.integers(0, 3), max_size=3),
        st.integers(0, 99),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def checkpoint(steps: int, **tensors: Any) -> Checkpoint:
    return Checkpoint(Done(steps, 7 * steps, 3, 0.5), "bf16", {"validation": 1.25}, tensors)


def same_arrays(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == other[n].dtype and a.shape == other[n].shape and a.tobytes() == other[n].tobytes()
        for n, a in one.items()
    )


@given(arrays)
def test_a_checkpoint_comes_back_as_it_was(tensors: dict[str, Any]) -> None:
    before = checkpoint(12, **tensors)
    found = Checkpoint.from_bytes(b"".join(before.to_bytes()))
    assert (found.done, found.precision, found.aside) == (before.done, before.precision, before.aside)
    assert same_arrays(found.arrays, before.arrays)


@given(st.data())
def test_a_checkpoint_that_was_altered_or_cut_anywhere_is_refused(data: st.DataObject) -> None:
    whole = b"".join(checkpoint(3, weights=np.arange(20, dtype=np.float32)).to_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), whole[:at], whole + b"\0"):
        with pytest.raises(RunError):
            Checkpoint.from_bytes(damaged)


@given(keep=st.integers(1, 4), steps=st.lists(st.integers(1, 99), min_size=1, max_size=8, unique=True))
def test_the_newest_are_kept(keep: int, steps: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = Checkpoints(tmp_path_factory.mktemp("c") / "checkpoints", keep)
    assert kept.newest(pytest.fail) is None
    written = sorted(steps)
    for step in written:
        kept.write(checkpoint(step))
    assert [int(path.stem[5:]) for path in kept.paths()] == written[::-1][:keep]
    newest = kept.newest(pytest.fail)
    assert newest is not None
    assert newest.done.steps == written[-1]
    (kept.folder / ".step-00000001.ckpt.77.tmp").write_bytes(b"half of one")
    kept.clear_leftovers()
    assert len(list(kept.folder.iterdir())) == len(kept.paths())
    kept.clear()
    assert not kept.folder.exists()


@pytest.mark.parametrize("averaging", AVERAGES)
def test_a_state_holds_all_that_the_next_steps_depend_on(averaging: str, dataset: Dataset) -> None:
    """Steps after load_state are bit for bit those of the trainer that the state was taken from."""
    config = tiny_config(
        f"train.averaging={AVERAGES[averaging]}",
        "train.optimizers.matrix={kind='muon', lr=0.02, momentum_warmup_steps=9}",
        "train.clip=0.1",
    )
    batches = Batches.of(dataset.train_stream(), context=16, rows=3, seed=1)

    def trainer(seed: int) -> tuple[TorchBackend, Any]:
        backend = TorchBackend(config.model, device="cpu")
        backend.load(initial_weights(manifest(config.model), seed))
        return backend, backend.trainer(config.train)

    (first, one), (second, other) = trainer(0), trainer(1)
    for step in range(4):
        one.step(batches.batch(step).ids, 0.9, step)
    other.step(batches.batch(9).ids, 1.0, 0)  # what it did before is forgotten
    state = one.state()
    torch.rand(3)
    other.load_state(state)
    assert same_arrays(other.state(), state)
    for step in range(4, 7):
        results = [t.step(batches.batch(step).ids, 0.5, step) for t in (one, other)]
        assert results[0] == results[1]
    assert one.use_averaged() == other.use_averaged() == (averaging != "none")
    assert same_arrays(first.weights(), second.weights())


def test_warm_up_steps_leave_no_trace(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("train.averaging={kind='ema', decay=0.5}")
    batches = Batches.of(dataset.train_stream(), context=16, rows=3, seed=1)
    found = []
    for steps in (0, 3):
        backend = TorchBackend(config.model, device="cpu")
        backend.load(initial_weights(manifest(config.model), 0))
        trainer = backend.trainer(config.train)
        warm_up(trainer, batches, steps, 0)
        for step in range(3):
            trainer.step(batches.batch(step).ids, 1.0, step)
        found.append(trainer.state())
    assert same_arrays(*found)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork here")
def test_twenty_kills_do_not_change_a_bit(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "20"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    left = [
        "config.toml",
        "ledger.json",
        "metrics.jsonl",
        "run.json",
        "started.json",
        "tokenizer.bin",
        "weights.safetensors",
    ]
    assert json.loads(done.stdout) == {"kills": 20, "same": True, "left": left}
    assert "resuming" in done.stderr


class At:
    """A hook that does something when a step is done."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def on_step(self, record: StepRecord) -> None:
        if record.step == self.step:
            self.act()

    def close(self) -> None:
        pass


def stopped(dataset: Dataset, out: Path, config: Config, at: int, act: Any = None, **options: Any) -> Path:
    """A run with a checkpoint after every step that SIGTERM, or what `act` does, ends after step `at`."""
    hook = At(at, act or (lambda: signal.raise_signal(signal.SIGTERM)))
    fit(
        config, dataset, out, device="cpu", hooks=[hook], **{"checkpoint_seconds": 1e-9, "keep": 3, **options}
    )
    return out


def test_a_run_that_sigterm_stopped_is_whole_and_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.steps=9", "train.averaging={kind='ema', decay=0.5}")
    expected = fit(config, dataset, tmp_path / "whole", device="cpu")
    out = stopped(dataset, tmp_path / "run", config, 4)
    summary = open_run(out).summary
    assert (summary["steps"], summary["interrupted"]) == (5, True)
    assert open_run(out).weights()
    found, started = unfinished_run(out)
    assert found == config
    check_same_data(started, dataset, out)
    said: list[str] = []
    run = fit(found, dataset, out, device="cpu", resume=True, announce=said.append)
    assert [line for line in said if f"resuming {out} after step 5, 240 tokens" in line]
    assert (run.summary["steps"], run.summary["interrupted"]) == (9, False)
    assert (out / WEIGHTS).read_bytes() == (expected.path / WEIGHTS).read_bytes()
    assert [json.loads(line)["step"] for line in (out / METRICS).read_text().splitlines()] == list(
        range(1, 10)
    )
    assert not (out / CHECKPOINTS).exists()
    with pytest.raises(RunError, match="the run is complete"):
        unfinished_run(out)


def test_damaged_checkpoints_are_passed_over_and_said_so(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.steps=8")
    expected = fit(config, dataset, tmp_path / "whole", device="cpu")
    out = stopped(dataset, tmp_path / "run", config, 5)
    newest, second, third = sorted((out / CHECKPOINTS).glob("*.ckpt"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    second.write_bytes(second.read_bytes().replace(MAGIC, b"another file          "))
    said: list[str] = []
    run = fit(config, dataset, out, device="cpu", resume=True, announce=said.append)
    assert [line for line in said if str(newest) in line and "damaged or cut short" in line]
    assert [line for line in said if str(second) in line and "trying the one before" in line]
    assert [line for line in said if f"after step {int(third.stem[5:])}," in line]
    assert (run.path / WEIGHTS).read_bytes() == (expected.path / WEIGHTS).read_bytes()
    assert not (out / CHECKPOINTS).exists()
    assert [json.loads(line)["step"] for line in (out / METRICS).read_text().splitlines()] == list(
        range(1, 9)
    )


def test_the_precision_stays_what_a_probe_found_at_first(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe may find another one when the machine is busy."""
    found = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}
    monkeypatch.setattr(trainers, "choose_precision", lambda wanted, device: (found[wanted], wanted))
    config = tiny_config("train.steps=5", "train.precision=auto")
    out = stopped(dataset, tmp_path / "run", config, 2)
    found["auto"] = torch.bfloat16
    run = fit(config, dataset, out, device="cpu", resume=True)
    assert run.summary["precision"] == "fp32"
    assert run.config.train.precision == "auto"


def test_without_a_checkpoint_it_starts_again(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.steps=6")
    expected = fit(config, dataset, tmp_path / "whole", device="cpu")
    out = stopped(dataset, tmp_path / "run", config, 3, checkpoint_seconds=0)
    said: list[str] = []
    run = fit(config, dataset, out, device="cpu", resume=True, announce=said.append)
    assert [line for line in said if "no checkpoint in" in line]
    assert (run.path / WEIGHTS).read_bytes() == (expected.path / WEIGHTS).read_bytes()


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = tiny_config("train.steps=6"), list[str]()
    whole = files.write_atomically

    def full(path: Path, *parts: bytes) -> None:
        if path.name == "step-00000002.ckpt" or path.name == "step-00000003.ckpt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(path, *parts)

    monkeypatch.setattr(checkpoints_module, "write_atomically", full)
    run = fit(config, dataset, tmp_path / "run", device="cpu", checkpoint_seconds=1e-9, announce=said.append)
    assert run.summary["steps"] == 6
    refused = [line for line in said if "cannot write the checkpoint" in line]
    assert len(refused) == 2
    assert "No space left on device; the last good one is of step 1; training goes on" in refused[1]


def test_a_gradient_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("train.steps=8")
    expected = fit(config, dataset, tmp_path / "whole", device="cpu")
    backward, count = trainers.TorchTrainer._backward, [0]

    def poisoned(self: Any, *args: Any, **options: Any) -> torch.Tensor:
        loss = backward(self, *args, **options)
        count[0] += 1
        if count[0] == 5:
            next(p for p in self.backend.gpt.parameters() if p.grad is not None).grad.view(-1)[0] = float(
                "nan"
            )
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(trainers.TorchTrainer, "_backward", poisoned)
        with pytest.raises(TrainingDivergedError, match="stopped at step 5"):
            fit(config, dataset, tmp_path / "run", device="cpu", checkpoint_seconds=1e-9)
    assert not (tmp_path / "run" / SUMMARY).exists()
    run = fit(config, dataset, tmp_path / "run", device="cpu", resume=True)
    assert (run.path / WEIGHTS).read_bytes() == (expected.path / WEIGHTS).read_bytes()


def test_a_shard_that_goes_bad_in_mid_epoch_names_itself_and_the_run_goes_on_once_mended(
    tmp_path: Path,
) -> None:
    """The file is altered while it is mapped; the loader finds it when it comes by."""
    dataset = tiny_dataset(tmp_path / "data")
    config = tiny_config("train.steps=30", "train.order='published'", "train.rows=8")
    expected = fit(config, dataset, tmp_path / "whole", device="cpu")
    shard = dataset.folder / dataset.manifest.splits.train.files[0].name
    good = shard.read_bytes()

    def spoil() -> None:
        with shard.open("r+b") as file:
            file.seek(HEADER_BYTES + 2 * 2000)
            file.write(b"\xff\xff")

    with pytest.raises(DataError, match=r"id 65535 at token 2000[\s\S]*--resume") as caught:
        stopped(dataset, tmp_path / "run", config, 2, spoil)
    assert caught.value.where == shard
    assert list((tmp_path / "run" / CHECKPOINTS).iterdir())
    shard.write_bytes(good)
    run = fit(config, dataset, tmp_path / "run", device="cpu", resume=True)
    assert (run.path / WEIGHTS).read_bytes() == (expected.path / WEIGHTS).read_bytes()


def test_a_run_goes_on_with_its_own_data_alone(dataset: Dataset, tmp_path: Path) -> None:
    out = stopped(dataset, tmp_path / "run", tiny_config("train.steps=6"), 2)
    _, started = unfinished_run(out)
    other = Started({**started.data, "train_sha256": "0" * 64})
    with pytest.raises(DataError, match="the tokens it began with"):
        check_same_data(other, dataset, out)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"data": {}, "more": 1}'])
def test_a_directory_that_no_run_can_go_on_in_is_an_error(content: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    if content is not None:
        (tmp_path / "started.json").write_bytes(content)
    with pytest.raises(RunError):
        unfinished_run(tmp_path)
