"""What only a GPU can show: a step that never waits for the device, and the same training as on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bytegolf.config.load import load_config
from bytegolf.data.loader import Batches
from bytegolf.model.init import initial_weights
from bytegolf.model.shrink import shrunk
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.optim.muon import Muon
from bytegolf.train.fit import fit
from tiny import tiny_config, tiny_dataset

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
)

STEPS = 6


def trained(device: str, tmp_path: Path, *overrides: str) -> tuple[list[float], Any]:
    dataset = tiny_dataset(tmp_path / device)
    config = tiny_config("train.compile=false", "train.clip=1.0", *overrides)
    batches = Batches.of(dataset.train_stream(), context=16, rows=3, seed=1)
    backend = TorchBackend(config.model, device=device)
    backend.load(initial_weights(manifest(config.model), 0))
    trainer = backend.trainer(config.train)
    losses = [trainer.step(batches.batch(step).ids, 1.0, step).loss for step in range(STEPS)]
    return losses, trainer


def test_a_gpu_trains_what_the_cpu_trains(tmp_path: Path) -> None:
    cpu, _ = trained("cpu", tmp_path)
    gpu, trainer = trained("cuda", tmp_path)
    assert gpu == pytest.approx(cpu, rel=1e-3)
    assert trainer.peak_bytes() > 0
    state = trainer.state()
    trainer.load_state(state)
    assert all(np.array_equal(array, state[name]) for name, array in trainer.state().items())


@pytest.mark.parametrize(
    "averaging", ["{kind='none'}", "{kind='ema', decay=0.9}", "{kind='swa', below=1.0, every=1}"]
)
def test_no_step_waits_for_the_device(averaging: str, tmp_path: Path) -> None:
    _, trainer = trained("cuda", tmp_path, f"train.averaging={averaging}", "train.precision=bf16")
    assert trainer.ahead > 0
    ids = np.ones((3, 17), np.int64)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(STEPS, STEPS + trainer.ahead):
            trainer.begin(ids, 0.5, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for _ in range(trainer.ahead):
        assert np.isfinite(trainer.finish().loss)


def test_batched_newton_schulz_is_torchs_within_bf16() -> None:
    shapes = [(64, 32), (32, 64), (64, 32), (128, 128)]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator).cuda() for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(w.clone()) for w in weights] for _ in range(2))
    for weight, other in zip(ours, theirs, strict=True):
        weight.grad = torch.randn(weight.shape, generator=generator).cuda()
        other.grad = weight.grad.clone()
    Muon(ours, lr=0.02, weight_decay=0.1, momentum=0.95).step()
    torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95).step()
    for weight, other in zip(ours, theirs, strict=True):
        assert float((weight - other).norm()) <= 0.03 * 0.02 * min(weight.shape) ** 0.5


def test_a_compiled_run_of_a_published_system_ends_and_tells_what_it_took(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path / "data")
    config = shrunk(load_config("pr162-bigram-swa"))
    model = config.model.model_copy(update={"vocab_size": 257})
    config = config.model_copy(update={"model": model})
    run = fit(config, dataset, tmp_path / "run", device="cuda")
    assert run.summary["steps"] == 50
    assert run.summary["aside"]["warm-up"] > 0
    assert "compiled by torch.compile" in run.summary["notes"]
