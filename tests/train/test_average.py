"""The trainer: clipping, stopping short of a bad update, and the running average against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Config
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from tiny import tiny_config


def backend_for(config: Config) -> TorchBackend:
    backend = TorchBackend(config.model, device="cpu")
    backend.load(initial_weights(manifest(config.model), 0))
    return backend


def batches(config: Config, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, config.model.vocab_size, (3, config.model.context + 1)) for _ in range(count)]


@settings(max_examples=5)
@given(st.sampled_from([0.3, 0.9, 0.997]), st.integers(1, 5))
def test_the_average_starts_at_the_first_weights_and_then_follows_its_formula(
    decay: float, steps: int
) -> None:
    """a_1 = w_1;  a_t = decay a_{t-1} + (1 - decay) w_t."""
    config = tiny_config(f"train.averaging={{kind='ema', decay={decay}}}")
    backend = backend_for(config)
    trainer = backend.trainer(config.train)
    expected: dict[str, np.ndarray] = {}
    for step, batch in enumerate(batches(config, steps)):
        trainer.step(batch, 1.0, step)
        for name, w in backend.weights().items():
            old = expected.get(name, w.astype(np.float64))
            expected[name] = decay * old + (1 - decay) * w
    last = backend.weights()
    assert trainer.use_averaged()
    averaged = backend.weights()
    for name, array in expected.items():
        assert np.allclose(averaged[name], array, rtol=1e-5, atol=1e-7)
    if steps > 1:
        assert any(not np.allclose(averaged[name], last[name], rtol=1e-4) for name in last)


def test_without_averaging_the_last_weights_stay() -> None:
    config = tiny_config()
    backend = backend_for(config)
    trainer = backend.trainer(config.train)
    trainer.step(batches(config, 1)[0], 1.0, 0)
    before = backend.weights()
    assert trainer.use_averaged() is False
    assert all(np.array_equal(array, before[name]) for name, array in backend.weights().items())


def test_an_average_of_nothing_is_not_used() -> None:
    config = tiny_config("train.averaging={kind='ema', decay=0.5}")
    backend = backend_for(config)
    before = backend.weights()
    assert backend.trainer(config.train).use_averaged() is False
    assert all(np.array_equal(array, before[name]) for name, array in backend.weights().items())


@pytest.mark.parametrize("poisoned", ["embed.weight", "plan.skips"])
def test_a_loss_that_is_not_finite_is_reported_and_changes_no_weight(poisoned: str) -> None:
    config = tiny_config("train.averaging={kind='ema', decay=0.5}")
    backend = backend_for(config)
    trainer = backend.trainer(config.train)
    with torch.no_grad():
        backend.gpt.get_parameter(poisoned).fill_(float("nan"))
    before = backend.weights()
    assert not np.isfinite(trainer.step(batches(config, 1)[0], 1.0, 0).loss)
    assert all(np.array_equal(a, before[n], equal_nan=True) for n, a in backend.weights().items())


def test_clipping_bounds_the_gradient_and_the_reported_norm_is_the_one_before() -> None:
    """Adam divides the scale of a gradient out again, so look at the gradients that the optimizers get."""
    seen: dict[float, float] = {}
    norms = {}
    for clip in (0.0, 1e-3):
        config = tiny_config(f"train.clip={clip}")
        backend = backend_for(config)
        trainer = backend.trainer(config.train)
        parameters = list(backend.gpt.parameters())

        def record(multiplier: float, step: int, clip: float = clip, parameters: list = parameters) -> None:
            seen[clip] = float(torch.stack([p.grad.norm() for p in parameters]).norm())

        trainer.optimizers.step = record
        norms[clip] = trainer.step(batches(config, 1)[0], 1.0, 0).grad_norm
    assert norms[0.0] == norms[1e-3] == pytest.approx(seen[0.0], rel=1e-5)
    assert seen[1e-3] == pytest.approx(1e-3, rel=1e-2)


def test_the_loss_of_a_step_is_the_mean_over_its_batch_before_the_update() -> None:
    config = tiny_config()
    backend = backend_for(config)
    batch = batches(config, 1)[0]
    expected = backend.nll(batch[:, :-1], batch[:, 1:]).mean()
    trainer = backend.trainer(config.train)
    assert trainer.step(batch, 1.0, 0).loss == pytest.approx(float(expected), rel=1e-6)
    assert backend.nll(batch[:, :-1], batch[:, 1:]).mean() < expected


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_in_either_precision_learns_a_batch_by_heart(precision: str) -> None:
    config = tiny_config(f"train.precision={precision}")
    backend = backend_for(config)
    trainer = backend.trainer(config.train)
    assert backend.precision == precision
    batch = batches(config, 1)[0]
    losses = [trainer.step(batch, 1.0, step).loss for step in range(30)]
    assert losses[0] == pytest.approx(np.log(257), abs=0.1)
    assert losses[-1] < 0.7 * losses[0]
    assert all(array.dtype == np.float32 for array in backend.weights().values())
