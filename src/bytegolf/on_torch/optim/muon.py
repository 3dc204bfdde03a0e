"""torch.optim.Muon with its matrices batched by shape and the precision of Newton-Schulz left open.

torch.optim.Muon runs Newton-Schulz matrix by matrix and always in bfloat16. Small matrices then pay mostly
call overhead, and a CPU without bf16 units pays several times over (LOG.md has the figures). Everything else
- constructor, groups, state, formula - is torch's, and the tests hold each step against it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch


class Muon(torch.optim.Muon):
    """buf <- lerp(buf, g, 1 - mu);  u = lerp(g, buf, mu);  w <- w (1 - lr wd) - lr sqrt(max(1, r/c)) NS(u).

    r, c: rows and columns of w (Jordan 2024). NS runs in `ns_dtype`. Cost per step of an (r, c) matrix with
    r <= c: ns_steps * (4 r^2 c + 2 r^3) operations.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        ns_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=True)
        self.ns_dtype = ns_dtype

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
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                self._update(group, shape, weights)

    def _update(self, group: dict[str, Any], shape: torch.Size, weights: list[torch.Tensor]) -> None:
        momentum = group["momentum"]
        gradients = [w.grad for w in weights if w.grad is not None]
        buffers = [self._buffer(w) for w in weights]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = torch.stack(torch._foreach_lerp(gradients, buffers, momentum))
        directions = newton_schulz(
            updates, self.ns_dtype, group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rows, cols = shape
        rate = group["lr"] * math.sqrt(max(1.0, rows / cols))
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(directions.to(weights[0].dtype)), alpha=-rate)

    def _buffer(self, weight: torch.Tensor) -> torch.Tensor:
        state: dict[str, torch.Tensor] = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]


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
