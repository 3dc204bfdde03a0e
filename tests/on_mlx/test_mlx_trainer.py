"""Training on MLX: compiled or not, in parts or whole, ahead or in step, interrupted or not: the same run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from twins import MlxBackend, batches, fresh

# isort: split
import mlx.core as mx

from bytegolf.config.load import with_overrides
from bytegolf.config.schema import Config, Model, Train
from bytegolf.errors import ConfigError
from bytegolf.model import machine
from bytegolf.model.backend import StepResult
from bytegolf.model.optimizing import groups
from bytegolf.model.spec import manifest
from bytegolf.on_mlx import device
from bytegolf.on_mlx.trainer import MlxTrainer
from model_samples import models
from tiny import tiny_config

SWA = "train.averaging={kind='swa', below=0.99, every=2}"
State = dict[str, np.ndarray]

# On a CPU every kernel that mx.compile fuses is built by the C++ compiler, once on a machine.
SMALLEST = ("train.steps=20", "model.layers=1", "model.embed.mixers=[]", "model.plan.kind='plain'")


def begun(config: Config) -> tuple[MlxBackend, MlxTrainer]:
    backend = fresh(config)[1]
    return backend, backend.trainer(config.train)


def run(trainer: Any, config: Config, steps: range) -> list[StepResult]:
    ids = batches(config, 40, config.train.rows)
    return [trainer.step(ids[step], 1.0 - 0.02 * step, step) for step in steps]


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def followed(trainer: MlxTrainer, backend: MlxBackend, config: Config) -> tuple[list[float], list[State]]:
    """Twenty steps: their losses, and the weights before each and after the last."""
    ids, losses, seen = batches(config, 4, config.train.rows), [], [backend.weights()]
    for step in range(20):
        losses.append(trainer.step(ids[step % 4], 1.0 - 0.04 * step, step).loss)
        seen.append(backend.weights())
    return losses, seen


@pytest.mark.slow
def test_compiled_or_not_twenty_steps_are_the_same_and_the_weights_move() -> None:
    """The published MLX script compiled its gradient without its weights, and kept those of the first step.

    In one test, the control too: two processes that build the same kernels would be in each other's way.
    """
    config = tiny_config(*SMALLEST, "train.clip=0.3")
    compiled = with_overrides(config, ["train.compile=true"])
    runs = []
    for each in (config, compiled):
        backend, trainer = begun(each)
        assert trainer.compiled == (each is compiled)
        run(trainer, each, range(3))
        trainer.load_state(fresh(each)[1].trainer(config.train).state())  # as a warm-up is undone
        losses, seen = followed(trainer, backend, each)
        for step, ids in enumerate(5 * batches(config, 4, config.train.rows)):
            backend.load(seen[step])
            by_the_weights = float(backend.nll(ids[:, :-1], ids[:, 1:]).mean())
            assert losses[step] == pytest.approx(
                by_the_weights, rel=1e-5
            )  # and not by those of an earlier step
        # What begins at zero holds the gradient of what it is multiplied with at zero, for a step or two.
        assert all(not same(before, after) for before, after in pairwise(seen))
        assert all(not np.array_equal(seen[4][name], seen[20][name]) for name in seen[0])
        assert losses[-1] < 0.9 * losses[0]
        runs.append(losses)
    assert np.allclose(*runs, rtol=1e-5, atol=0)
    backend, trainer = begun(config)
    trainer._gradients = mx.compile(trainer._gradients)
    stale = followed(trainer, backend, config)[0]
    assert stale[:4] == stale[4:8] == stale[16:]  # the same four batches by the same weights, for ever
    assert not np.allclose(stale, runs[0], rtol=1e-2)


PARTS = {
    "train.micro_rows=1": [1] * 6,
    "train.micro_rows=3": [3, 3],
    "train.microbatch_tokens=70": [4, 2],
    "train.microbatch_tokens=16": [1] * 6,
    "train.microbatch_tokens=1000": [6],
    "train={micro_rows=3, microbatch_tokens=32}": [2, 2, 2],
    "train={micro_rows=2, microbatch_tokens=80}": [2, 2, 2],
}


@pytest.mark.parametrize("override", PARTS)
def test_parts_of_a_batch_change_memory_and_not_the_step(override: str) -> None:
    """On both backends, and as many rows at a time as the smaller of the two bounds allows."""
    whole = tiny_config("train.rows=6", "train.clip=0.5")
    config = with_overrides(whole, _flat(override))
    for kind in (0, 1):
        backends = [fresh(c)[kind] for c in (whole, config)]
        one, other = (
            b.trainer(c.train).step(batches(c, 1, 6)[0], 1.0, 0)
            for b, c in zip(backends, (whole, config), strict=True)
        )
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
        parts = backends[1].weights()
        assert all(np.allclose(parts[n], w, rtol=1e-3, atol=2e-4) for n, w in backends[0].weights().items())


@pytest.mark.parametrize("override", PARTS)
def test_so_many_rows_go_through_the_network_at_a_time(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_overrides(tiny_config("train.rows=6"), _flat(override))
    _, trainer = begun(config)
    rows: list[int] = []
    gradients = trainer._gradients

    def watched(ids_BT: mx.array, share: mx.array) -> Any:
        rows.append(ids_BT.shape[0])
        return gradients(ids_BT, share)

    monkeypatch.setattr(trainer, "_gradients", watched)
    trainer.step(batches(config, 1, 6)[0], 1.0, 0)
    assert rows == PARTS[override]


def _flat(override: str) -> list[str]:
    """Overrides of one key each: a table would replace all of `train`."""
    if "{" not in override:
        return [override]
    return [f"train.{pair.strip()}" for pair in override.partition("{")[2].rstrip("}").split(",")]


def test_fewer_tokens_than_a_row_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train.microbatch_tokens 15 is less than one row of 16 tokens"):
        tiny_config("train.microbatch_tokens=15")


@pytest.mark.parametrize("averaging", ["none", "swa", "ema"])
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(averaging: str) -> None:
    more = {"none": [], "swa": [SWA], "ema": ["train.averaging={kind='ema', decay=0.9}"]}[averaging]
    config = tiny_config("train.clip=0.5", "train.optimizers.matrix.momentum_warmup_steps=8", *more)
    backend, trainer = begun(config)
    run(trainer, config, range(3))
    state = trainer.state()
    expected = run(trainer, config, range(3, 7))
    again, resumed = begun(config)
    run(resumed, config, range(5))  # what it did before is forgotten
    resumed.load_state(state)
    assert same(resumed.state(), state)
    assert run(resumed, config, range(3, 7)) == expected
    assert resumed.use_averaged() == trainer.use_averaged() == (averaging != "none")
    assert same(again.weights(), backend.weights())


@pytest.mark.parametrize("to_mlx", [True, False])
def test_a_run_goes_on_on_the_other_backend_from_the_same_state(to_mlx: bool) -> None:
    """The next losses are those of the backend it comes from, to rounding; not bit for bit."""
    config = tiny_config("train.clip=0.5", "train.optimizers.matrix.momentum_warmup_steps=8", SWA)
    pair = fresh(config)
    first, second = pair if to_mlx else reversed(pair)
    trainer, other = first.trainer(config.train), second.trainer(config.train)
    other.load_state(trainer.state())  # before the first step there is nothing yet
    run(trainer, config, range(6))
    state = trainer.state()
    assert {key for key in state if not key.startswith("random/")} == {
        key for key in _after(other, config, 6) if not key.startswith("random/")
    }
    other.load_state(state)
    for expected, found in zip(
        run(trainer, config, range(6, 12)), run(other, config, range(6, 12)), strict=True
    ):
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert trainer.use_averaged()
    assert other.use_averaged()
    weights = first.weights()
    for name, array in second.weights().items():
        assert np.allclose(array, weights[name], rtol=1e-3, atol=1e-5), name


def _after(trainer: Any, config: Config, steps: int) -> State:
    run(trainer, config, range(steps))
    found: State = trainer.state()
    return found


def test_steps_that_begin_before_others_are_finished_are_the_same_steps() -> None:
    config = tiny_config(SWA, "train.clip=0.5")
    backend, trainer = begun(config)
    expected = run(trainer, config, range(6))
    ahead, other = begun(config)
    other.ahead = 2
    ids = batches(config, 40, config.train.rows)
    found = []
    for step in range(6):
        other.begin(ids[step], 1.0 - 0.02 * step, step)
        if step >= 2:
            found.append(other.finish())
    assert [*found, other.finish(), other.finish()] == expected
    assert same(ahead.weights(), backend.weights())


@pytest.mark.parametrize("poisoned", ["embed.weight", "plan.skips"])
def test_a_loss_that_is_not_finite_is_reported_and_changes_no_weight(poisoned: str) -> None:
    config = tiny_config("train.averaging={kind='ema', decay=0.5}")
    backend, trainer = begun(config)
    before = backend.weights()
    before[poisoned] = np.full_like(before[poisoned], np.nan)
    backend.load(before)
    assert not np.isfinite(trainer.step(batches(config, 1, 3)[0], 1.0, 0).loss)
    assert all(np.array_equal(a, before[n], equal_nan=True) for n, a in backend.weights().items())
    assert trainer.use_averaged() is False


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_in_either_precision_learns_a_batch_by_heart(precision: str) -> None:
    config = tiny_config(f"train.precision={precision}")
    backend, trainer = begun(config)
    assert backend.precision == precision
    assert backend.notes == [f"training in {precision}: as configured"]
    batch = batches(config, 1, 3)[0]
    losses = [trainer.step(batch, 1.0, step).loss for step in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(array.dtype == np.float32 for array in backend.weights().values())
    assert trainer.peak_bytes() > sum(array.nbytes for array in backend.weights().values())


def test_the_first_step_of_adam_is_its_whole_rate() -> None:
    """With bias correction; MLX leaves it out by default, and PR 342 did: its first step was 0.447 of that."""
    config = tiny_config("train.optimizers.scalar={kind='adamw', lr=0.01}")
    backend, trainer = begun(config)
    before = backend.weights()
    trainer.step(batches(config, 1, 3)[0], 1.0, 0)
    moved = np.abs(backend.weights()["plan.skips"] - before["plan.skips"])
    assert np.allclose(moved, 0.01, rtol=1e-2)


@settings(max_examples=10)
@given(models())
def test_every_parameter_is_in_one_group(model: Model) -> None:
    adamw = {"kind": "adamw", "lr": 0.1}
    roles = dict.fromkeys(("embed", "table", "head", "gate", "scalar"), adamw)
    train = Train.model_validate(
        {"steps": 1, "rows": 1, "optimizers": {**roles, "matrix": {"kind": "muon", "lr": 1}}}
    )
    tensors = manifest(model)
    made = groups({t.name: t.shape for t in tensors.tensors}, tensors.roles(), train)
    assert sorted(n for g in made for n in g.names) == sorted(tensors.roles())
    assert all(tensors.roles()[n] == g.role for g in made for n in g.names)


def test_bf16_is_taken_only_when_a_probe_found_it_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, dtype in ((300.0, mx.bfloat16), (100.0, mx.float32)):
        speeds = {mx.float32: 100.0, mx.bfloat16: fast}
        monkeypatch.setattr(device, "_products_per_second", lambda kind, place, speeds=speeds: speeds[kind])
        chosen, reason = device.choose_precision("auto", mx.Device(mx.cpu))
        assert chosen == dtype
        assert f"{fast / 100:.1f}x" in reason


def test_the_probe_counts_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PROBE_SECONDS", 0.001)
    assert device._products_per_second(mx.float32, mx.Device(mx.cpu)) > 0


def test_a_step_is_compiled_on_a_gpu_and_on_a_cpu_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = mx.Device(mx.cpu), mx.Device(mx.gpu)
    table = {("auto", cpu): False, ("auto", gpu): True, (False, gpu): False, (True, cpu): True}
    assert all(device.compiles(wanted, place) == expected for (wanted, place), expected in table.items())
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert device.compiles(True, gpu)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        device.compiles(True, cpu)
