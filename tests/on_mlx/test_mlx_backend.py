"""The backend: which device, which weights, one process; an artifact means the same on both backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from twins import fresh, generic_twins, toy

# isort: split
import mlx.core as mx

from bytegolf.artifact.format import write
from bytegolf.data.dataset import Dataset
from bytegolf.errors import ConfigError, WorldError
from bytegolf.launch import Launch
from bytegolf.model.spec import manifest
from bytegolf.model.world import Alone
from bytegolf.on_mlx import backend as backend_module
from bytegolf.on_mlx import device
from bytegolf.on_mlx.backend import MlxBackend, join
from bytegolf.on_mlx.device import DEVICES, choose_device
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.packed import load_packed
from bytegolf.score.sample import sample_text
from bytegolf.train.export import export
from bytegolf.train.fit import fit
from bytegolf.train.plan import make_plan
from bytegolf.train.probe import probe
from bytegolf.train.run_dir import WEIGHTS, open_run
from model_samples import generic_weights, random_ids, system
from tiny import tiny_config, tiny_dataset

MODEL = system(layers=1, dim=16, hidden=8).model_copy(update={"vocab_size": 30, "context": 8})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu", "", "GPU"])
def test_a_device_that_mlx_does_not_know_is_refused_with_those_it_does(name: str) -> None:
    with pytest.raises(ConfigError, match="knows no device") as caught:
        choose_device(name)
    assert all(known in str(caught.value) for known in DEVICES)


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_the_gpu_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.mx, "is_available", lambda kind: there)
    assert choose_device("auto").type == (mx.gpu if there else mx.cpu)
    assert choose_device("cpu").type == mx.cpu
    if there:
        assert choose_device("gpu").type == mx.gpu
    else:
        with pytest.raises(ConfigError, match="no gpu"):
            choose_device("gpu")


def test_what_a_gpu_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"device_name": "Apple M3 Max", "memory_size": 64 << 30}
    monkeypatch.setattr(device.mx, "device_info", lambda place: facts)
    assert device.hardware(mx.Device(mx.gpu)) == "Apple M3 Max, 64 GB, gpu"
    facts.clear()
    assert device.hardware(mx.Device(mx.gpu)) == "unknown, gpu"


def test_several_processes_are_refused() -> None:
    class Two(Alone):
        size = 2

    with pytest.raises(WorldError, match="in one process") as caught:
        MlxBackend(MODEL, device="cpu", world=Two())
    assert caught.value.where == "--backend"
    with pytest.raises(WorldError, match="in one process"):
        join(Launch(rank=1, size=2), "auto", 1.0)
    assert join(Launch(), "auto", 1.0).size == 1


def test_it_gives_back_the_weights_it_was_given_and_refuses_others() -> None:
    made = MlxBackend(MODEL, device="cpu")
    weights = {name: array.astype("float32") for name, array in generic_weights(MODEL).items()}
    made.load(weights)
    assert list(made.weights()) == [t.name for t in manifest(MODEL).tensors]
    assert all((made.weights()[name] == array).all() for name, array in weights.items())
    with pytest.raises(ConfigError, match="not those of this model"):
        made.load({name: array for name, array in weights.items() if name != "embed.weight"})
    with pytest.raises(ConfigError, match=r"embed\.weight"):
        made.load({**weights, "embed.weight": np.zeros((7, 16), np.float32)})


def test_rows_are_scored_in_pieces_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    _, backend = generic_twins(MODEL)
    ids = random_ids(MODEL, 5, 8)
    whole = backend.nll(ids[:, :-1], ids[:, 1:]), backend.log_probabilities(ids)
    monkeypatch.setattr(backend_module, "MOST_LOGITS", 2 * 8 * 30)
    for parts, together in zip(
        (backend.nll(ids[:, :-1], ids[:, 1:]), backend.log_probabilities(ids)), whole, strict=True
    ):
        assert np.allclose(parts, together, rtol=0, atol=1e-6)


def test_longer_windows_than_that_of_training_grow_the_tables() -> None:
    """Also when a step that was traced with the short ones is taken again."""
    config = toy("baseline")
    on_torch, on_mlx = fresh(config)
    trainer = on_mlx.trainer(config.train)
    ids = random_ids(config.model, 1, 200)
    before = trainer.step(ids[:, :17], 0.0, 0).loss
    expected, found = (backend.nll(ids[:, :-1], ids[:, 1:]) for backend in (on_torch, on_mlx))
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert trainer.step(ids[:, :17], 0.0, 1).loss == pytest.approx(before, rel=1e-6)


@pytest.mark.slow
def test_an_artifact_means_the_same_on_both(dataset: Dataset, tmp_path: Path) -> None:
    """Trained on either: the same bytes from the same weights, the same score within 1e-3, the same text."""
    config = tiny_config("train.steps=8")
    tokens = dataset.val_tokens()
    text = HeldOut.of_text(tokens, (0,), dataset.tokenizer.decode(tokens.tolist()))
    for library in ("torch", "mlx"):
        run = fit(config, dataset, tmp_path / library, device="cpu", library=library)
        assert (run.summary["backend"], run.summary["device"]) == (library, "cpu")
        assert set(run.summary["libraries"]) == {library, "numpy"}
        other = MlxBackend(config.model, device="cpu")
        other.load(run.weights())
        assert all(np.array_equal(array, run.weights()[name]) for name, array in other.weights().items())
        path = tmp_path / f"{library}.golf"
        write(path, export(open_run(run.path), config))
        packed = [load_packed(path, "cpu", backend=name) for name in ("torch", "mlx")]
        settings = config.score.model_copy(update={"context": 16, "stride": 16})
        scores = [score(each.backend, text, settings).bpb for each in packed]
        assert scores[1] == pytest.approx(scores[0], rel=1e-3)
        drawn = [
            "".join(
                sample_text(
                    each.backend,
                    each.tokenizer,
                    "ab",
                    context=16,
                    tokens=12,
                    temperature=0.0,
                    top_p=1.0,
                    seed=0,
                )
            )
            for each in packed
        ]
        assert drawn[0] == drawn[1] != ""
    on_torch, on_mlx = (open_run(tmp_path / library).weights() for library in ("torch", "mlx"))
    assert all(np.allclose(on_mlx[name], array, rtol=1e-3, atol=1e-4) for name, array in on_torch.items())


def test_the_same_weights_pack_into_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_config("train.steps=2")
    run = fit(config, dataset, tmp_path / "run", device="cpu", library="mlx")
    write(tmp_path / "one.golf", export(run, config))
    backend = load_packed(tmp_path / "one.golf", "cpu", backend="torch").backend
    backend.load(run.weights())
    from safetensors.numpy import save_file

    save_file(backend.weights(), run.path / WEIGHTS)
    write(tmp_path / "two.golf", export(open_run(run.path), config))
    assert (tmp_path / "one.golf").read_bytes() == (tmp_path / "two.golf").read_bytes()


def test_the_probe_of_plan_runs_on_mlx() -> None:
    config = tiny_config()
    found = probe(config, "cpu", "mlx", limit=0.2)
    assert found.device == "cpu"
    assert found.seconds_per_step > 0
    assert make_plan(config, found).to_json()
