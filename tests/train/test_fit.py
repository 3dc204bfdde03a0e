"""From config and dataset to run, artifact and back: the same every time, checked before anything is written."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bytegolf.artifact.format import write
from bytegolf.codec import base
from bytegolf.data.dataset import Dataset
from bytegolf.errors import ArtifactError, ConfigError, RunError, TrainingDivergedError, UserError
from bytegolf.model.spec import flops_per_token, manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.packed import load_packed
from bytegolf.train.export import export, with_pack_overrides
from bytegolf.train.fit import estimated_bpb, fit
from bytegolf.train.interrupt import SIGNALS, graceful_interrupt
from bytegolf.train.loop import StepRecord
from bytegolf.train.run_dir import METRICS, SUMMARY, WEIGHTS, Run, open_run
from tiny import tiny_config, tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(tiny_config(), dataset, tmp_path_factory.mktemp("runs") / "tiny", device="cpu")


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(
    run: Run, dataset: Dataset, tmp_path: Path
) -> None:
    again = fit(tiny_config(), dataset, tmp_path / "again", device="cpu")
    other = fit(tiny_config("train.seed=5"), dataset, tmp_path / "other", device="cpu")
    assert (again.path / WEIGHTS).read_bytes() == (run.path / WEIGHTS).read_bytes()
    assert (other.path / WEIGHTS).read_bytes() != (run.path / WEIGHTS).read_bytes()


def test_the_summary_says_what_was_trained_on_what(run: Run, dataset: Dataset) -> None:
    config = tiny_config()
    summary = run.summary
    assert (summary["steps"], summary["tokens"], summary["interrupted"]) == (4, 4 * 3 * 16, False)
    assert summary["parameters"] == manifest(config.model).parameters
    assert sum(summary["parameters_by_role"].values()) == summary["parameters"]
    assert summary["training_flops"] == 3 * flops_per_token(config.model) * summary["tokens"]
    assert (summary["device"], summary["precision"], summary["averaged"]) == ("cpu", "fp32", False)
    assert summary["notes"] == ["training in fp32: as configured"]
    assert summary["data"]["val_sha256"] == dataset.manifest.splits.val.sha256
    assert summary["data"]["tokenizer_sha256"] == dataset.tokenizer.sha256
    assert run.config == config
    lines = (run.path / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert run.weights().keys() == manifest(config.model).roles().keys()


def test_averaged_weights_are_the_ones_that_are_saved(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.averaging={kind='ema', decay=0.5}")
    averaged = fit(config, dataset, tmp_path / "ema", device="cpu")
    assert averaged.summary["averaged"] is True
    assert not np.allclose(averaged.weights()["embed.weight"], run.weights()["embed.weight"])


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["model.vocab_size=300"], ConfigError),
        (["model.bos_id=3"], ConfigError),
        (["model.context=1000000"], UserError),
        (["train.optimizers.scalar={kind='muon', lr=0.1}"], ConfigError),
    ],
)
def test_what_cannot_train_is_refused_before_the_directory_is_made(
    overrides: list[str], error: type[UserError], dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(error):
        fit(tiny_config(*overrides), dataset, tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_mismatch_of_vocabularies_says_what_to_set(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(tiny_config("model.vocab_size=300"), dataset, tmp_path / "run", device="cpu")
    assert "-o model.vocab_size=257 -o model.bos_id=0" in str(caught.value)


def test_a_run_in_the_way_stays_and_force_replaces_it(dataset: Dataset, tmp_path: Path) -> None:
    first = fit(tiny_config(), dataset, tmp_path / "run", device="cpu")
    with pytest.raises(RunError, match="exists already"):
        fit(tiny_config(), dataset, tmp_path / "run", device="cpu")
    forced = fit(tiny_config("train.steps=2"), dataset, tmp_path / "run", device="cpu", force=True)
    assert (first.summary["steps"], forced.summary["steps"]) == (4, 2)


def test_a_patient_process_takes_any_number_of_signals_for_one() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with graceful_interrupt(patient=True) as stop:
        assert not stop()
        for number in (*SIGNALS, *SIGNALS):
            signal.raise_signal(number)
            assert stop()
    assert [signal.getsignal(number) for number in SIGNALS] == before


class Interrupting:
    """A hook that presses Ctrl-C during its second step."""

    def on_step(self, record: StepRecord) -> None:
        if record.step == 2:
            signal.raise_signal(signal.SIGINT)

    def close(self) -> None:
        pass


def test_one_interrupt_saves_what_there_is(dataset: Dataset, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = fit(tiny_config("train.steps=50"), dataset, tmp_path / "run", device="cpu", hooks=[Interrupting()])
    assert (run.summary["steps"], run.summary["interrupted"]) == (3, True)  # the step under way is finished
    assert signal.getsignal(signal.SIGINT) is before
    assert run.weights()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own Ctrl-C: a shell starts background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_leaves_at_once() -> None:
    with graceful_interrupt() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_that_diverges_keeps_its_metrics_and_has_no_weights(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.optimizers.scalar.lr=1e30", "train.steps=30")
    with pytest.raises(TrainingDivergedError, match="step"):
        fit(config, dataset, tmp_path / "run", device="cpu")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert METRICS in names
    assert not {WEIGHTS, SUMMARY} & names
    with pytest.raises(RunError, match="finished"):
        open_run(tmp_path / "run")


@pytest.fixture
def packed_path(run: Run, tmp_path: Path) -> Path:
    write(tmp_path / "model.golf", export(run, run.config))
    return tmp_path / "model.golf"


def test_the_packed_model_gives_the_logits_of_the_dequantized_weights(run: Run, packed_path: Path) -> None:
    packed = load_packed(packed_path, "cpu")
    assert packed.config == run.config
    assert packed.nbytes == packed_path.stat().st_size
    assert packed.tokenizer.to_bytes() == run.tokenizer
    roles = manifest(run.config.model).roles()
    stored = {}
    for name, array in run.weights().items():
        codec = base.get(run.config.pack.codecs[roles[name]])
        stored[name] = codec.decode(codec.encode(array), array.shape)
    reference = TorchBackend(run.config.model, device="cpu")
    reference.load(stored)
    ids = np.arange(40)
    assert np.array_equal(packed.backend.next_logits(ids), reference.next_logits(ids))
    reference.load(run.weights())
    assert not np.array_equal(packed.backend.next_logits(ids), reference.next_logits(ids))
    assert np.allclose(packed.backend.next_logits(ids), reference.next_logits(ids), atol=0.5)


def test_paths_stay_at_home(run: Run, packed_path: Path, dataset: Dataset) -> None:
    text = json.dumps(export(run, run.config).provenance)
    assert run.summary["data"]["train_sha256"] in text
    assert str(dataset.folder.resolve()) not in packed_path.read_bytes().decode("latin-1")


def test_packing_may_change_its_codecs_and_nothing_else(run: Run) -> None:
    config = with_pack_overrides(run, ["pack.codecs.matrix=int5", "pack.budget=5"])
    small, usual = export(run, config), export(run, run.config)
    assert {t.codec for t in small.tensors if t.role == "matrix"} == {"int5"}
    assert small.config["pack"]["codecs"]["matrix"] == "int5"
    assert sum(len(t.blob) for t in small.tensors) < sum(len(t.blob) for t in usual.tensors)
    for override in ("model.layers=3", "train.seed=3", "name=other", "score.stride=1"):
        with pytest.raises(ConfigError, match="under pack only"):
            with_pack_overrides(run, [override])


def test_an_artifact_whose_tokenizer_is_not_its_models_is_refused(run: Run, tmp_path: Path) -> None:
    artifact = export(run, run.config)
    config = {**artifact.config, "model": {**artifact.config["model"], "vocab_size": 300}}
    write(tmp_path / "odd.golf", dataclasses.replace(artifact, config=config))
    with pytest.raises(ArtifactError, match="300 vocabulary entries"):
        load_packed(tmp_path / "odd.golf", "cpu")


def test_the_estimate_in_bits_per_byte_uses_the_tokens_of_the_training_text(dataset: Dataset) -> None:
    train = dataset.manifest.splits.train
    assert estimated_bpb(dataset)(np.log(2)) == pytest.approx(train.tokens / train.bytes)
