"""Muon with decoupled weight decay, its matrices batched by shape: the update of `on_torch.optim.muon` on MLX.

`mlx.optimizers.Muon` adds the decay to the gradient, where orthogonalisation all but removes it, and takes the
matrices one by one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import mlx.core as mx
from mlx.optimizers import Optimizer

from bytegolf.config.schema import Muon as Config

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5
EPS = 1e-7


class Muon(Optimizer):
    """buf <- lerp(buf, g, 1 - mu);  u = lerp(g, buf, mu);  w <- w (1 - lr wd) - lr sqrt(max(1, r/c)) NS(u).

    r, c: rows and columns of w (Jordan 2024). NS runs in `ns_dtype`. Cost per step of an (r, c) matrix with
    r <= c: STEPS * (4 r^2 c + 2 r^3) operations. The learning rate and the momentum are arrays of the state, so
    that a compiled step reads them anew; `gradients` and `parameters` are flat dicts.
    """

    def __init__(self, config: Config, ns_dtype: mx.Dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maybe_schedule("learning_rate", config.lr)
        self.weight_decay, self.ns_dtype = config.weight_decay, ns_dtype
        self.momentum_ramp = (config.momentum_start, config.momentum, config.momentum_warmup_steps)
        self.momentum = config.momentum
        self.set_momentum(self.momentum)

    def set_momentum(self, momentum: float) -> None:
        """Move to another momentum as the published optimizer does, whose buffer is a sum: buf <- mu buf + g.

        The average kept here is 1 - mu times that sum, a factor that Newton-Schulz removes as long as mu stays.
        When mu moves, the averages of the old gradients are rescaled, or they would weigh more than published.
        """
        self.state["rescale"] = mx.array((1 - momentum) / (1 - self.momentum))
        self.state["momentum"] = mx.array(momentum)
        self.momentum = momentum

    def init_single(self, parameter: mx.array, state: dict[str, mx.array]) -> None:
        state["momentum_buffer"] = mx.zeros_like(parameter)

    def apply_gradients(
        self, gradients: dict[str, mx.array], parameters: dict[str, mx.array]
    ) -> dict[str, mx.array]:
        if not self._initialized:
            self.init(gradients)
        state: dict[str, Any] = self.state
        state["step"] = self.step + 1
        rate, mu = self.learning_rate, state["momentum"]
        by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, gradient in gradients.items():
            by_shape[gradient.shape].append(name)
        updated = {}
        for (rows, cols), names in by_shape.items():
            g = mx.stack([gradients[name] for name in names])
            buffers = state["rescale"] * mx.stack([state[name]["momentum_buffer"] for name in names])
            buffers = buffers + (1 - mu) * (g - buffers)
            directions = newton_schulz(buffers + (1 - mu) * (g - buffers), self.ns_dtype).astype(g.dtype)
            scale = math.sqrt(max(1.0, rows / cols))
            for i, name in enumerate(names):
                state[name]["momentum_buffer"] = buffers[i]
                kept = parameters[name] * (1 - rate * self.weight_decay)
                updated[name] = kept - rate * scale * directions[i]
        return updated


def newton_schulz(batch_Nrc: mx.array, dtype: mx.Dtype) -> mx.array:
    """The nearly orthogonal factor of each matrix: X <- a X + (b A + c A^2) X, A = X X^T, from X = G / |G|_F."""
    a, b, c = COEFFICIENTS
    x = batch_Nrc.astype(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.swapaxes(-1, -2)
    x = x / mx.maximum(mx.linalg.norm(x, axis=[-2, -1], keepdims=True), EPS)
    for _ in range(STEPS):
        gram = x @ x.swapaxes(-1, -2)
        x = mx.addmm(x, mx.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.swapaxes(-1, -2) if tall else x
