"""torch.optim.Muon with its matrices batched by shape, divided over ranks, and any precision of Newton-Schulz.

torch.optim.Muon runs Newton-Schulz matrix by matrix and always in bfloat16. Small matrices then pay mostly
call overhead, and a CPU without bf16 units pays several times over (LOG.md has the figures). Everything else
- constructor, groups, state, formula - is torch's, and the tests hold each step against it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from bytegolf.model.world import ALONE, World
from bytegolf.on_torch.dist import gathered


class Muon(torch.optim.Muon):
    """buf <- lerp(buf, g, 1 - mu);  u = lerp(g, buf, mu);  w <- w (1 - lr wd) - lr sqrt(max(1, r/c)) NS(u).

    r, c: rows and columns of w (Jordan 2024). NS runs in `ns_dtype`. Cost per step of an (r, c) matrix with
    r <= c: ns_steps * (4 r^2 c + 2 r^3) operations. In a world of several ranks every rank keeps all momenta and
    computes NS of its share of the matrices alone; then each hands its results to the others.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        ns_dtype: torch.dtype = torch.bfloat16,
        world: World = ALONE,
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=True)
        self.ns_dtype, self.world = ns_dtype, world

    @torch.no_grad()
    def set_momentum(self, momentum: float) -> None:
        """Move to another momentum as the published optimizer does, whose buffer is a sum: buf <- mu buf + g.

        torch's average is 1 - mu times that sum, a factor that Newton-Schulz removes as long as mu stays. When mu
        moves, the averages of the old gradients are rescaled, or they would weigh more than the published ones.
        """
        for group in self.param_groups:
            ratio = (1 - momentum) / (1 - group["momentum"])
            group["momentum"] = momentum
            buffers = [self.state[w]["momentum_buffer"] for w in group["params"] if w in self.state]
            if ratio != 1.0 and buffers:
                torch._foreach_mul_(buffers, ratio)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            gradients = [w.grad for w in weights]
            buffers = [self._buffer(w) for w in weights]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            if self.world.size == 1:
                directions = self._directions(group, gradients, buffers)
            else:
                directions = self._shared_directions(group, gradients, buffers)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            for rate, members in _by_rate(weights).items():
                updates = [directions[i].to(weights[i].dtype) for i in members]
                torch._foreach_add_([weights[i] for i in members], updates, alpha=-group["lr"] * rate)

    def _directions(
        self, group: dict[str, Any], gradients: list[torch.Tensor], buffers: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """NS of every matrix, those of one shape together."""
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for i, gradient in enumerate(gradients):
            by_shape[gradient.shape].append(i)
        found: dict[int, torch.Tensor] = {}
        for members in by_shape.values():
            mine, momenta = [gradients[i] for i in members], [buffers[i] for i in members]
            updates = torch.stack(torch._foreach_lerp(mine, momenta, group["momentum"]))
            results = newton_schulz(
                updates, self.ns_dtype, group["ns_coefficients"], group["ns_steps"], group["eps"]
            )
            found |= dict(zip(members, results, strict=True))
        return [found[i] for i in range(len(gradients))]

    def _shared_directions(
        self, group: dict[str, Any], gradients: list[torch.Tensor], buffers: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """As `_directions`; each rank computes its share, and all hear of the others' in one message."""
        shares = shared_out([g.shape for g in gradients], self.world.size)
        sizes = [sum(gradients[i].numel() for i in share) for share in shares]
        mine = shares[self.world.rank]
        flat = torch.zeros(max(sizes), dtype=self.ns_dtype, device=gradients[0].device)
        if mine:
            own = self._directions(group, [gradients[i] for i in mine], [buffers[i] for i in mine])
            flat[: sizes[self.world.rank]] = torch.cat([matrix.flatten() for matrix in own])
        found: dict[int, torch.Tensor] = {}
        for share, size, message in zip(shares, sizes, gathered(self.world, flat), strict=True):
            parts = message[:size].split([gradients[i].numel() for i in share])
            found |= {i: part.view(gradients[i].shape) for i, part in zip(share, parts, strict=True)}
        return [found[i] for i in range(len(gradients))]

    def _buffer(self, weight: torch.Tensor) -> torch.Tensor:
        state: dict[str, torch.Tensor] = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]


def _by_rate(weights: list[torch.Tensor]) -> dict[float, list[int]]:
    """sqrt(max(1, r / c)) -> the matrices that it scales."""
    found: dict[float, list[int]] = defaultdict(list)
    for i, weight in enumerate(weights):
        rows, cols = weight.shape
        found[math.sqrt(max(1.0, rows / cols))].append(i)
    return found


def shared_out(shapes: Sequence[tuple[int, ...]], ranks: int) -> list[list[int]]:
    """Which matrices each rank orthogonalises: the most expensive first, each to the rank with least to do."""
    costs = [min(r, c) ** 2 * (2 * max(r, c) + min(r, c)) for r, c in shapes]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for i in sorted(range(len(shapes)), key=lambda i: (-costs[i], i)):
        least = loads.index(min(loads))
        shares[least].append(i)
        loads[least] += costs[i]
    return [sorted(share) for share in shares]


def newton_schulz(
    batch_Nrc: torch.Tensor,
    dtype: torch.dtype,
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
) -> torch.Tensor:
    """The nearly orthogonal factor of each matrix: X <- a X + (b A + c A^2) X, A = X X^T, from X = G / |G|_F."""
    a, b, c = coefficients
    x = batch_Nrc.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
