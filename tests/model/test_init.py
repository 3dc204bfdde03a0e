"""Initial weights: the same bits for a seed, one stream a tensor, and the distributions they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Model
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import Init, InitKind, Manifest, Tensor, manifest
from model_samples import models, system


def drawn(kind: InitKind, value: float, *shape: int, seed: int = 0) -> np.ndarray:
    return initial_weights(Manifest((Tensor("x", shape, "matrix", Init(kind, value)),)), seed)["x"]


@settings(max_examples=25)
@given(models(), st.integers(0, 2**64 - 1))
def test_a_seed_gives_the_same_float32_bits_again_and_another_seed_gives_others(
    model: Model, seed: int
) -> None:
    tensors = manifest(model)
    first, again, other = (initial_weights(tensors, s) for s in (seed, seed, seed + 1))
    assert list(first) == [t.name for t in tensors.tensors]
    for tensor in tensors.tensors:
        array = first[tensor.name]
        assert (array.dtype, array.shape) == (np.float32, tensor.shape)
        assert array.tobytes() == again[tensor.name].tobytes()
        random = tensor.init.kind not in ("zeros", "constant")
        assert (array.tobytes() != other[tensor.name].tobytes()) == random


@settings(max_examples=25)
@given(models(), st.integers(0, 100), st.data())
def test_a_tensor_does_not_depend_on_the_others(model: Model, seed: int, data: st.DataObject) -> None:
    tensors = manifest(model).tensors
    whole = initial_weights(Manifest(tensors), seed)
    chosen = data.draw(st.sampled_from(tensors))
    assert initial_weights(Manifest((chosen,)), seed)[chosen.name].tobytes() == whole[chosen.name].tobytes()


def test_tensors_of_the_same_shape_differ() -> None:
    weights = initial_weights(manifest(system(layers=2, dim=16, hidden=8)), 0)
    assert (weights["blocks.0.attention.q"] != weights["blocks.1.attention.q"]).mean() > 0.99


SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(SIZES, st.floats(0.01, 10), st.integers(0, 1000))
def test_an_orthogonal_matrix_is_orthogonal_times_its_gain(
    size: tuple[int, int], gain: float, seed: int
) -> None:
    w = drawn("orthogonal", gain, *size, seed=seed).astype(np.float64) / gain
    gram = w @ w.T if size[0] <= size[1] else w.T @ w
    assert np.allclose(gram, np.eye(min(size)), atol=1e-5)


def test_orthogonal_matrices_have_no_preferred_direction() -> None:
    draws = np.array([drawn("orthogonal", 1.0, 3, 2, seed=s) for s in range(400)])
    assert np.abs(draws.mean(axis=0)).max() < 4 * math.sqrt(1 / 3 / 400)


@given(SIZES, st.integers(0, 1000))
def test_fan_in_is_uniform_within_one_over_the_root_of_the_columns(size: tuple[int, int], seed: int) -> None:
    assert np.abs(drawn("uniform_fan_in", 0.0, *size, seed=seed)).max() <= np.float32(1 / math.sqrt(size[1]))


def test_the_random_distributions_have_their_moments() -> None:
    uniform = drawn("uniform_fan_in", 0.0, 400, 100).astype(np.float64)
    assert abs(uniform.mean()) < 4 * 0.1 / math.sqrt(3 * 40_000)
    assert uniform.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.02)
    assert 0.099 < uniform.max() <= 0.1
    normal = drawn("normal", 0.005, 400, 100).astype(np.float64)
    assert abs(normal.mean()) < 4 * 0.005 / 200
    assert normal.std() == pytest.approx(0.005, rel=0.02)
    assert np.abs(normal).max() > 3.5 * 0.005


def test_constants_are_constant() -> None:
    assert (drawn("constant", 1.5, 3, 2) == 1.5).all()
    assert (drawn("zeros", 9.0, 3, 2) == 0).all()
    assert drawn("constant", 0.05).shape == ()


def test_the_published_systems_start_as_published() -> None:
    inits = {t.name: (t.init.kind, t.init.value) for t in manifest(system(buckets=4096)).tensors}
    zeros, ones = ("zeros", 0.0), ("constant", 1.0)
    assert inits["embed.weight"] == ("normal", 0.005)
    assert inits["embed.mixers.0.table"] == zeros
    assert inits["embed.mixers.0.proj"] == ("orthogonal", pytest.approx(0.2357022604))
    assert inits["embed.mixers.0.scale"] == ("constant", 0.05)
    assert inits["embed.mixers.1.gate"] == zeros
    assert inits["plan.skips"] == ones
    block = {n.removeprefix("blocks.8."): init for n, init in inits.items() if n.startswith("blocks.8.")}
    assert block == {
        "mix_x": ones,
        "mix_x0": zeros,
        "attention_scale": ones,
        "mlp_scale": ones,
        "attention.q": ("uniform_fan_in", 0.0),
        "attention.k": ("uniform_fan_in", 0.0),
        "attention.v": ("uniform_fan_in", 0.0),
        "attention.proj": zeros,
        "attention.q_gain": ("constant", 1.5),
        "mlp.fc": ("uniform_fan_in", 0.0),
        "mlp.proj": zeros,
    }
