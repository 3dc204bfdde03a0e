"""Muon on MLX is Muon on torch, whose tests hold it against torch's own and the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import twins  # noqa: F401  (skips this file where mlx is missing)
from hypothesis import given, settings
from hypothesis import strategies as st

# isort: split
import mlx.core as mx

from bytegolf.config.schema import Muon as Config
from bytegolf.on_mlx.optim.muon import Muon, newton_schulz
from bytegolf.on_torch.optim import muon as on_torch

SHAPES = [(4, 4), (8, 3), (3, 8), (16, 16), (48, 16), (1, 5), (5, 1)]


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6),
    st.floats(1e-4, 0.5),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.lists(st.sampled_from([0.0, 0.85, 0.95]), min_size=1, max_size=4),
)
def test_a_step_is_the_one_of_torch(
    shapes: list[tuple[int, int]], lr: float, decay: float, momenta: list[float]
) -> None:
    """The decay is decoupled: mlx.optimizers.Muon adds it to the gradient instead."""
    rng = np.random.default_rng(len(shapes))
    weights = {str(i): rng.standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)}
    theirs = [torch.nn.Parameter(torch.tensor(w)) for w in weights.values()]
    reference = on_torch.Muon(theirs, lr=lr, weight_decay=decay, momentum=0.95, ns_dtype=torch.float32)
    mine = Muon(Config(kind="muon", lr=lr, weight_decay=decay), mx.float32)
    ours = {name: mx.array(w) for name, w in weights.items()}
    mine.init(ours)
    for momentum in momenta:
        gradients = {name: rng.standard_normal(w.shape).astype(np.float32) for name, w in weights.items()}
        for parameter, gradient in zip(theirs, gradients.values(), strict=True):
            parameter.grad = torch.tensor(gradient)
        reference.set_momentum(momentum)
        reference.step()
        mine.set_momentum(momentum)
        ours = mine.apply_gradients({n: mx.array(g) for n, g in gradients.items()}, ours)
    for parameter, name in zip(theirs, weights, strict=True):
        assert np.allclose(np.array(ours[name]), parameter.detach().numpy(), rtol=1e-4, atol=1e-4 * lr + 1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_newton_schulz_is_the_one_of_torch(shape: tuple[int, int], dtype: str) -> None:
    batch = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    expected = on_torch.newton_schulz(
        torch.tensor(batch), getattr(torch, dtype), (3.4445, -4.7750, 2.0315), 5, 1e-7
    )
    found = np.array(newton_schulz(mx.array(batch), getattr(mx, dtype)).astype(mx.float32))
    tolerance = 1e-4 if dtype == "float32" else 0.06
    assert np.allclose(found, expected.float().numpy(), rtol=0, atol=tolerance)


def test_a_gradient_of_nothing_moves_nothing() -> None:
    mine = Muon(Config(kind="muon", lr=0.1), mx.float32)
    weights = {"w": mx.ones((3, 4))}
    mine.init(weights)
    assert mx.array_equal(mine.apply_gradients({"w": mx.zeros((3, 4))}, weights)["w"], weights["w"])
