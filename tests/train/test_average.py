"""The trainer: clipping, stopping short of a bad update, and the running average against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Config, Swa
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch.averaging import SwaAverager
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


@settings(max_examples=8)
@given(st.lists(st.sampled_from([1.0, 0.5, 0.3, 0.0]), min_size=1, max_size=6), st.integers(1, 3))
def test_swa_is_the_mean_of_every_nth_step_below_its_multiplier(multipliers: list[float], every: int) -> None:
    config = tiny_config(f"train.averaging={{kind='swa', below=0.5, every={every}}}")
    backend = backend_for(config)
    trainer = backend.trainer(config.train)
    snapshots = []
    for step, (batch, multiplier) in enumerate(zip(batches(config, 6), multipliers, strict=False)):
        trainer.step(batch, multiplier, step)
        if multiplier < 0.5 and (step + 1) % every == 0:
            snapshots.append(backend.weights())
    last = backend.weights()
    assert trainer.use_averaged() == (len(snapshots) > 1)
    for name, array in backend.weights().items():
        expected = np.mean([s[name] for s in snapshots], axis=0) if len(snapshots) > 1 else last[name]
        assert np.allclose(array, expected, rtol=1e-5, atol=1e-7)


# first step below the multiplier, steps of the run, every -> snapshots that the published logs count
@pytest.mark.parametrize(
    ("start", "steps", "every", "count"),
    [(5851, 7379, 50, 30), (5901, 7393, 50, 29), (5801, 7373, 200, 7), (5501, 6709, 50, 24)],
)
def test_swa_takes_as_many_snapshots_as_published(start: int, steps: int, every: int, count: int) -> None:
    averager = SwaAverager(torch.nn.Linear(1, 1), Swa(kind="swa", below=0.5, every=every))
    for step in range(steps):
        averager.after_step(1.0 if step + 1 < start else 0.4, step)
    assert averager.count == count


@pytest.mark.parametrize("micro_rows", [1, 2, 3])
def test_micro_rows_change_memory_and_not_the_step(micro_rows: int) -> None:
    results = []
    for override in ("train.micro_rows=0", f"train.micro_rows={micro_rows}"):
        config = tiny_config("train.rows=6", "train.clip=0.5", override)
        backend = backend_for(config)
        trainer = backend.trainer(config.train)
        batch = np.concatenate(batches(config, 2))
        results.append((trainer.step(batch, 1.0, 0), backend.weights()))
    (whole, weights), (parts, other) = results
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert all(np.allclose(other[n], w, rtol=1e-3, atol=2e-4) for n, w in weights.items())


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
