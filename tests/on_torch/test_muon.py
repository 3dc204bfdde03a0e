"""Muon against torch's own, against hand-computed vectors, and against exact orthogonalisation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.on_torch.optim.muon import Muon, newton_schulz

COEFFICIENTS, STEPS, EPS = (3.4445, -4.7750, 2.0315), 5, 1e-7
SHAPES = [(4, 4), (8, 3), (3, 8), (16, 16), (48, 16), (16, 48), (1, 5), (5, 1)]
TALL = torch.cat((torch.eye(3), torch.ones(1, 3))).double()


def orthogonalised(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return newton_schulz(matrix[None], dtype, COEFFICIENTS, STEPS, EPS)[0].double()


def copies(
    shapes: list[tuple[int, int]], seed: int
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    generator = torch.Generator().manual_seed(seed)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return ours, [torch.nn.Parameter(p.detach().clone()) for p in ours]


def give_gradients(
    ours: list[torch.nn.Parameter], theirs: list[torch.nn.Parameter], generator: torch.Generator
) -> None:
    for p, q in zip(ours, theirs, strict=True):
        p.grad = torch.randn(p.shape, generator=generator)
        q.grad = p.grad.clone()


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6),
    st.floats(1e-4, 0.5),
    st.sampled_from([0.0, 0.1]),
    st.lists(st.sampled_from([0.0, 0.85, 0.95]), min_size=1, max_size=4),
)
def test_a_bf16_step_is_torchs_step(
    shapes: list[tuple[int, int]], lr: float, decay: float, momenta: list[float]
) -> None:
    ours, theirs = copies(shapes, len(shapes))
    mine = Muon(ours, lr=lr, weight_decay=decay, momentum=0.95)
    reference = torch.optim.Muon(theirs, lr=lr, weight_decay=decay, momentum=0.95)
    generator = torch.Generator().manual_seed(1)
    for done, momentum in enumerate(momenta, start=1):
        give_gradients(ours, theirs, generator)
        for optimizer in (mine, reference):
            optimizer.param_groups[0]["momentum"] = momentum
            optimizer.step()
        for p, q in zip(ours, theirs, strict=True):
            # Equal bits where the batched product sums in the same order; elsewhere bf16 rounds differently.
            assert (p - q).norm() <= 0.03 * lr * done * min(p.shape) ** 0.5


def test_states_are_interchangeable_with_torchs() -> None:
    shapes = [(4, 6), (6, 4), (4, 6)]
    ours, theirs = copies(shapes, 0)
    mine = Muon(ours, lr=0.02, weight_decay=0.1, momentum=0.95)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    generator = torch.Generator().manual_seed(1)
    give_gradients(ours, theirs, generator)
    mine.step()
    reference.step()
    state, other = mine.state_dict(), reference.state_dict()
    assert state["param_groups"] == other["param_groups"]
    mine.load_state_dict(other)
    reference.load_state_dict(state)
    give_gradients(ours, theirs, generator)
    mine.step()
    reference.step()
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


def test_a_matrix_without_a_gradient_stays_as_it_is() -> None:
    ours, theirs = copies([(3, 3), (3, 3)], 0)
    ours[0].grad = torch.ones(3, 3)
    Muon(ours, lr=0.1, weight_decay=0.1, momentum=0.9).step()
    assert torch.equal(ours[1], theirs[1])
    assert not torch.equal(ours[0], theirs[0])


VECTORS = {
    "diagonal": (
        torch.diag(torch.tensor([3.0, 1.0])).double(),
        torch.diag(torch.tensor([0.753033, 1.133706])).double(),
    ),
    "square": (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double(),
        torch.tensor([[-0.680661, 0.825540], [0.741295, 0.259440]]).double(),
    ),
    "tall": (
        TALL,
        torch.cat(
            (
                -0.179139 * torch.ones(3, 3) + (0.925449 + 0.179139) * torch.eye(3),
                torch.full((1, 3), 0.567171),
            )
        ),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.1)]
)
def test_five_newton_schulz_steps(name: str, dtype: torch.dtype, tolerance: float) -> None:
    matrix, expected = VECTORS[name]
    if name == "square" and dtype == torch.bfloat16:
        return  # nearly singular: its small singular value is lost in bf16
    assert torch.allclose(orthogonalised(matrix, dtype), expected.double(), rtol=0, atol=tolerance)
    assert torch.allclose(orthogonalised(matrix.T, dtype), expected.double().T, rtol=0, atol=tolerance)


def test_two_steps_with_decay_on_a_tall_matrix() -> None:
    """The published momentum sums where torch's averages: a factor that the normalisation removes."""
    weight = torch.nn.Parameter(torch.ones(4, 3, dtype=torch.float64))
    muon = Muon([weight], lr=0.02, weight_decay=0.04, momentum=0.95, ns_dtype=torch.float64)
    for step in (1, 2):
        weight.grad = step * TALL
        muon.step()
    expected = torch.full((4, 3), 1.006671).double()
    expected.fill_diagonal_(0.955673)
    expected[3] = 0.972215
    assert torch.allclose(weight.detach(), expected, rtol=0, atol=1e-6)


@given(st.lists(st.floats(0.5, 0.99), min_size=2, max_size=6))
def test_a_moving_momentum_sums_gradients_as_published(momenta: list[float]) -> None:
    """buf <- mu buf + g;  u = g + mu buf;  w <- w - lr NS(u)."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    muon = Muon([weight], lr=0.1, weight_decay=0.0, momentum=0.95, ns_dtype=torch.float64)
    summed, expected = torch.zeros(4, 4).double(), torch.zeros(4, 4).double()
    for momentum in momenta:
        weight.grad = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        muon.set_momentum(momentum)
        muon.step()
        summed = momentum * summed + weight.grad
        expected -= 0.1 * orthogonalised(weight.grad + momentum * summed, torch.float64)
    assert torch.allclose(weight.detach(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 16), (64, 24), (24, 64), (128, 128)])
@pytest.mark.parametrize("seed", range(3))
def test_every_precision_gives_nearly_torchs_bf16_update(shape: tuple[int, int], seed: int) -> None:
    updates = {}
    for dtype in (torch.float32, torch.bfloat16, None):
        (weight,), _ = copies([shape], seed)
        before = weight.detach().clone()
        options = {"lr": 0.02, "weight_decay": 0.0, "momentum": 0.95}
        muon = Muon([weight], ns_dtype=dtype, **options) if dtype else torch.optim.Muon([weight], **options)
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(100 + seed))
        muon.step()
        updates[dtype] = weight.detach() - before
    reference = updates[None]
    for dtype in (torch.float32, torch.bfloat16):
        assert (updates[dtype] - reference).norm() < 0.05 * reference.norm()


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(1e-3, 1e3), st.integers(0, 100))
def test_the_update_has_singular_values_near_one_whatever_the_scale(
    rows: int, cols: int, scale: float, seed: int
) -> None:
    matrix = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = torch.linalg.svdvals(orthogonalised(scale * matrix, torch.float64))
    assert values.max() < 1.3
    start = torch.linalg.svdvals(matrix)
    assert values[start > 0.1 * start.norm()].min() > 0.6


def test_a_zero_gradient_gives_a_zero_update() -> None:
    assert not orthogonalised(torch.zeros(3, 4), torch.float32).any()
