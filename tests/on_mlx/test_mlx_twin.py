"""MLX answers to torch: for every registered variant and preset the same logits, gradients and training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import batches, fresh, generic_twins, toy, twins

# isort: split
import mlx.core as mx

from bytegolf import registry
from bytegolf.config.load import preset_names
from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError
from bytegolf.model.spec import manifest
from bytegolf.on_mlx.backend import MlxBackend
from bytegolf.on_mlx.gpt import Gpt
from bytegolf.on_mlx.mixers.ngram_recall import latest_copies
from bytegolf.on_numpy import forward
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.mixers import ngram_recall as torch_recall
from model_samples import MEAN_NATS, OTHER_NATS, REGISTERED, miniature, models, random_ids

EVERY_VARIANT = pytest.mark.parametrize(("slot", "kind"), REGISTERED)
ADAPTATIONS = [("adaptation", kind) for kind in registry.names("adaptation")]
IDS, TARGETS = np.array([[1, 5, 9, 2, 15]]), np.array([[5, 9, 2, 15, 3]])


@pytest.mark.parametrize(("slot", "kind"), [*REGISTERED, *ADAPTATIONS])
def test_every_variant_has_a_twin_on_mlx(slot: str, kind: str) -> None:
    if slot != "plan":  # an order of layers is data, and no side has code of its own for it
        assert registry.lookup(slot, kind, "mlx").__module__.startswith("bytegolf.on_mlx.")


def test_a_variant_without_a_twin_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.VARIANTS["mlp"], "novel", "novel:Novel")
    with pytest.raises(ConfigError, match="mlp 'novel' has no mlx twin yet"):
        registry.lookup("mlp", "novel", "mlx")


def gradients(pair: tuple[TorchBackend, MlxBackend], ids: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Of the mean loss, on torch and on MLX."""
    gpt, twin = pair[0].gpt, pair[1].gpt
    tokens = torch.tensor(ids)
    gpt.nll(tokens[:, :-1], tokens[:, 1:]).mean().backward()
    on_torch = {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for n, p in gpt.named_parameters()}

    def loss(weights: dict[str, mx.array]) -> mx.array:
        twin.take(weights)
        return twin.nll(mx.array(ids[:, :-1]), mx.array(ids[:, 1:])).mean()

    held = twin.named()
    on_mlx = mx.grad(loss)(held)
    twin.take(held)
    return [on_torch, {name: np.array(gradient) for name, gradient in on_mlx.items()}]


@EVERY_VARIANT
@settings(max_examples=8)
@given(data=st.data())
def test_forward_and_gradients_are_those_of_torch(slot: str, kind: str, data: st.DataObject) -> None:
    """Lengths beyond the training context too. Of a gradient near zero the norm of all of them is the measure."""
    model = data.draw(models(slot, kind))
    pair = generic_twins(model, data.draw(st.integers(0, 10)))
    ids = random_ids(model, 3, data.draw(st.integers(2, 12)), seed=data.draw(st.integers(0, 10)))
    found, expected = (backend.log_probabilities(ids) for backend in reversed(pair))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    on_torch, on_mlx = gradients(pair, ids)
    total = np.sqrt(sum(np.sum(np.square(g)) for g in on_torch.values()))
    for name, gradient in on_torch.items():
        scale = max(np.linalg.norm(gradient), 1e-3 * total)
        assert np.linalg.norm(on_mlx[name] - gradient) <= 1e-4 * scale, name


@EVERY_VARIANT
@settings(max_examples=4)
@given(data=st.data())
def test_the_last_positions_alone_are_those_of_all(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    _, backend = generic_twins(model)
    ids = random_ids(model, 2, 12)
    last = data.draw(st.integers(1, 12))
    whole = backend.log_probabilities(ids)
    assert np.allclose(backend.log_probabilities(ids, last), whole[:, -last:], rtol=0, atol=1e-5)
    targets = (ids + 1) % model.vocab_size
    assert np.allclose(
        backend.nll(ids, targets, last), backend.nll(ids, targets)[:, -last:], rtol=0, atol=1e-5
    )
    assert backend.nll(ids, targets)[1, 3] == pytest.approx(-whole[1, 3, targets[1, 3]], abs=1e-5)


@EVERY_VARIANT
@settings(max_examples=4)
@given(data=st.data())
def test_bfloat16_stays_near_and_its_logits_are_float32(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    _, backend = generic_twins(model)
    ids = random_ids(model, 1, 8)
    low = backend.gpt(mx.array(ids), mx.bfloat16)
    assert low.dtype == mx.float32
    assert np.allclose(np.array(low), np.array(backend.gpt(mx.array(ids))), rtol=0, atol=0.3)


@EVERY_VARIANT
@settings(max_examples=4)
@given(data=st.data())
def test_no_logit_depends_on_a_later_token(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    _, backend = generic_twins(model)
    ids, cut = random_ids(model, 2, 8), data.draw(st.integers(1, 7))
    changed = np.concatenate((ids[:1, :cut], ids[1:, cut:]), axis=1)
    before, after = (backend.log_probabilities(rows)[:, :cut] for rows in (ids[:1], changed))
    assert np.allclose(before, after, rtol=0, atol=1e-6)


@EVERY_VARIANT
@settings(max_examples=4)
@given(data=st.data())
def test_the_parameters_are_the_manifest(slot: str, kind: str, data: st.DataObject) -> None:
    model: Model = data.draw(models(slot, kind))
    named = Gpt(model).named()
    assert {name: array.shape for name, array in named.items()} == {
        t.name: t.shape for t in manifest(model).tensors
    }
    assert all(array.dtype == mx.float32 for array in named.values())


@pytest.mark.parametrize("mixers", MEAN_NATS)
def test_the_miniature_systems_have_their_loss(mixers: tuple[str, ...]) -> None:
    _, backend = twins(*miniature(mixers))
    assert backend.nll(IDS, TARGETS).mean() == pytest.approx(MEAN_NATS[mixers], rel=1e-6)


@pytest.mark.parametrize("name", OTHER_NATS)
def test_miniatures_with_other_layers_have_their_loss(name: str) -> None:
    mixers, slots, expected = OTHER_NATS[name]
    _, backend = twins(*miniature(mixers, slots))
    assert backend.nll(IDS, TARGETS).mean() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", preset_names())
def test_twenty_steps_of_a_preset_are_those_of_torch(name: str) -> None:
    """Losses, gradient norms, and the weights that come of it, averaged where the preset averages."""
    config = toy(name)
    pair = fresh(config)
    trainers = [backend.trainer(config.train) for backend in pair]
    losses = []
    for step, batch in enumerate(5 * batches(config, 4)):
        expected, found = (trainer.step(batch, 1.0 - 0.04 * step, step) for trainer in trainers)
        assert found.loss == pytest.approx(expected.loss, rel=1e-3)
        assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-2)
        losses.append(found.loss)
    assert losses[-1] < losses[0] - 0.1
    assert trainers[0].use_averaged() == trainers[1].use_averaged() == (config.train.averaging.kind != "none")
    on_torch, on_mlx = (backend.weights() for backend in pair)
    for tensor, array in on_torch.items():
        assert np.linalg.norm(on_mlx[tensor] - array) <= 1e-3 * np.linalg.norm(array) + 1e-6, tensor


@pytest.mark.parametrize("name", ["pr354-mla", "pr489-partial-rope-ttt", "pocket"])
def test_a_preset_is_what_the_definition_says(name: str) -> None:
    config = toy(name)
    weights = {n: a.astype(np.float64) for n, a in fresh(config)[1].weights().items()}
    _, backend = twins(config.model, weights)
    ids = random_ids(config.model, 1, 24)
    logits = forward.logits(config.model, weights, ids[0])
    expected = logits[-1] - np.log(np.exp(logits[-1]).sum())
    assert np.allclose(backend.log_probabilities(ids)[0, -1], expected, rtol=0, atol=1e-5)
    assert np.allclose(backend.next_logits(ids[0]), logits[-1], rtol=0, atol=1e-5)


ROWS = st.integers(1, 30).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=3)
)


@given(ROWS, st.integers(1, 5), st.sampled_from([1, 1 << 20]))
def test_the_latest_copies_are_those_that_torch_finds(
    rows: list[list[int]], longest: int, factor: int
) -> None:
    tokens = factor * np.array(rows)
    found = list(latest_copies(mx.array(tokens), longest))
    expected = list(torch_recall.latest_copies(torch.tensor(tokens), longest))
    assert [(n, copies.tolist()) for n, copies in found] == [(n, copies.tolist()) for n, copies in expected]
