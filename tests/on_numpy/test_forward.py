"""The definition itself: published numbers, and causality of the whole forward pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime
from bytegolf.model.components.smear_keep import SmearKeep
from bytegolf.model.components.smear_lerp import SmearLerp
from bytegolf.on_numpy.forward import logits, nll
from bytegolf.on_numpy.mixers.bigram_hash import buckets
from bytegolf.on_numpy.ops import rms_norm, rope, softcap, under
from model_samples import (
    BASE_NATS,
    IDS,
    MEAN_NATS,
    OTHER_NATS,
    REGISTERED,
    TARGETS,
    generic_weights,
    miniature,
    models,
    random_ids,
    system,
)
from vectors import (
    BUCKETS,
    HASHED_IDS,
    NORMED_CONSTANT,
    PRIME_BUCKETS,
    ROTATED,
    SMEARED,
    SOFTCAPPED,
)


@pytest.mark.parametrize("size", BUCKETS)
def test_token_pairs_fall_into_their_published_buckets(size: int) -> None:
    spec = BigramHash(kind="bigram_hash", buckets=size, stop_at_bos=False)
    assert buckets(spec, 0, HASHED_IDS).tolist() == BUCKETS[size]
    stopped = BigramHash(kind="bigram_hash", buckets=size)
    assert buckets(stopped, 0, HASHED_IDS).tolist() == [*BUCKETS[size][:-1], size - 1]


@pytest.mark.parametrize("multiplier", PRIME_BUCKETS)
def test_token_pairs_fall_into_the_buckets_of_the_linear_hash(multiplier: int) -> None:
    size, expected = PRIME_BUCKETS[multiplier]
    run = registry.lookup("mixer", "bigram_hash_prime", "numpy")
    spec = BigramHashPrime(
        kind="bigram_hash_prime", buckets=size, multiplier=multiplier, stop_at_bos=False, table_dim=1
    )
    weights = {"table": np.arange(size, dtype=np.float64)[:, None], "proj": np.ones((1, 1))}
    out = run(spec, system(), weights, np.zeros((7, 1)), HASHED_IDS, np.zeros((1024, 1)))
    assert out[:, 0].tolist() == expected


def test_the_gate_that_keeps_is_the_other_one_turned_round() -> None:
    """g kept is 1 - g given: with the gate negated both conventions give the same stream."""
    x_TD, ids, embedding = np.array([[1.0], [3.0], [5.0]]), np.array([5, 1, 7]), np.zeros((8, 1))
    for gate, expected in SMEARED.items():
        run = registry.lookup("mixer", "smear_keep", "numpy")
        spec = SmearKeep(kind="smear_keep", stop_at_bos=False)
        out = run(spec, system(), {"gate": np.array([-gate])}, x_TD, ids, embedding)
        assert out[:, 0] == pytest.approx(expected, abs=1e-10)
    (start,) = spec.tensors(system())
    assert 1 / (1 + math.exp(-start.init.value)) == pytest.approx(0.9526, abs=1e-4)


@pytest.mark.parametrize("gate", SMEARED)
def test_the_smear_of_one_channel(gate: float) -> None:
    run = registry.lookup("mixer", "smear_lerp", "numpy")
    x_TD, weights = np.array([[1.0], [3.0], [5.0]]), {"gate": np.array([gate])}
    ids, embedding = np.array([5, 1, 7]), np.zeros((8, 1))
    published = SmearLerp(kind="smear_lerp", stop_at_bos=False)
    out = run(published, system(), weights, x_TD, ids, embedding)
    assert out[:, 0] == pytest.approx(SMEARED[gate], abs=1e-10)
    kept = run(SmearLerp(kind="smear_lerp"), system(), weights, x_TD, ids, embedding)
    assert kept[:, 0] == pytest.approx([SMEARED[gate][0], 3.0, SMEARED[gate][2]], abs=1e-10)


@pytest.mark.parametrize(("cap", "x"), SOFTCAPPED)
def test_the_softcap(cap: float, x: float) -> None:
    assert float(softcap(np.array(x), cap)) == pytest.approx(SOFTCAPPED[cap, x], abs=1e-9)


def test_partial_rope_turns_the_first_dimensions_by_their_own_frequencies() -> None:
    """Of 64 dimensions 16 turn, at 1, 10^-0.5, 0.1, ...: the exponent counts 16 dimensions, not 64."""
    x_HTd = np.zeros((1, 2, 64))
    x_HTd[..., :8], x_HTd[..., 8:] = 1.0, 7.0
    out = rope(x_HTd, 10_000.0, 16)[0, 1]
    angles = [10 ** (-i / 2) for i in range(8)]
    assert out[:8] == pytest.approx([math.cos(a) + 7 * math.sin(a) for a in angles], abs=1e-12)
    assert out[8:16] == pytest.approx([7 * math.cos(a) - math.sin(a) for a in angles], abs=1e-12)
    assert out[16:].tolist() == [7.0] * 48


def test_rope_rotates_by_minus_theta() -> None:
    x_HTd = np.tile(np.array([1.0, 2.0, 3.0, 4.0]), (1, 3, 1))
    assert np.allclose(rope(x_HTd, 10_000.0)[0], ROTATED, atol=1e-9)


def test_the_norm_of_small_vectors_is_held_down_by_eps() -> None:
    assert np.allclose(rms_norm(np.full(512, 0.005)), NORMED_CONSTANT, atol=1e-8)


@pytest.mark.parametrize("mixers", MEAN_NATS)
def test_the_miniature_systems_have_their_loss(mixers: tuple[str, ...]) -> None:
    model, weights = miniature(mixers)
    losses = nll(model, weights, IDS, TARGETS)
    assert losses.mean() == pytest.approx(MEAN_NATS[mixers], abs=1e-14)
    if not mixers:
        assert losses == pytest.approx(BASE_NATS, abs=1e-8)


@pytest.mark.parametrize("name", OTHER_NATS)
def test_miniatures_with_other_layers_have_their_loss(name: str) -> None:
    mixers, slots, expected = OTHER_NATS[name]
    model, weights = miniature(mixers, slots)
    assert nll(model, weights, IDS, TARGETS).mean() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=8)
@given(data=st.data())
def test_no_logit_depends_on_a_later_token(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    weights = generic_weights(model)
    ids = random_ids(model, 2, 8)
    cut = data.draw(st.integers(1, 7))
    changed = np.concatenate((ids[0, :cut], ids[1, cut:]))
    first, second = logits(model, weights, ids[0]), logits(model, weights, changed)
    assert np.allclose(first[:cut], second[:cut], rtol=0, atol=1e-12)
    assert np.allclose(logits(model, weights, ids[0, :cut]), first[:cut], rtol=0, atol=1e-12)


@given(st.integers(1, 9), st.integers(0, 8))
def test_a_window_of_w_tokens_reaches_w_minus_1_back_and_no_further(window: int, changed: int) -> None:
    model, every = miniature(())
    spec = model.attention.model_copy(update={"window": window})
    run, weights = registry.lookup("attention", "gqa", "numpy"), under(every, "blocks.0.attention")
    x_TD = np.random.default_rng(0).standard_normal((9, model.dim))
    other_TD = x_TD.copy()
    other_TD[changed] += 1.0
    difference = run(spec, model, weights, x_TD) != run(spec, model, weights, other_TD)
    assert difference.any(axis=1).tolist() == [changed <= t < changed + window for t in range(9)]


@settings(max_examples=8)
@given(models())
def test_the_likelihoods_of_all_tokens_sum_to_one(model: Model) -> None:
    ids = random_ids(model, 1, 4)[0]
    weights = generic_weights(model)
    every = np.array([nll(model, weights, ids, np.full(4, v)) for v in range(model.vocab_size)])
    assert np.allclose(np.exp(-every).sum(axis=0), 1.0, atol=1e-12)
