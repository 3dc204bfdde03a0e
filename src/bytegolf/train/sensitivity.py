"""What a quantization step costs: the second-order loss increase of one tensor, measured and not modelled.

Let d be the quantization error of a tensor at step s. Then L(w + d) = L(w) + g d + d'Hd / 2 + ..., and

    increase = (L(w + d) + L(w - d)) / 2 - L(w) = d'Hd / 2 + O(d^4)

is free of the gradient, which is larger on any small sample and not zero in a model whose training was stopped.
Many small errors average out: increase ~ a s^2 with one `a` a tensor, bytes ~ n (c - log2 s) / 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bytegolf.codec.ecsq import Ecsq, row_rms
from bytegolf.model.backend import Backend, Floats, Ids

# How the steps of a tensor's rows follow their rms: not at all, or in proportion. Square roots never won by 2 %.
POWERS = (0.0, 1.0)


@dataclass(frozen=True)
class Profile:
    """Steps of a tensor up to one factor: steps(s) = s * shape, shape (rows,) around 1. `rms` is in units of s."""

    shape: NDArray[np.float64]
    rms: float

    def steps(self, size: float) -> NDArray[np.float64]:
        """The rows' steps, (rows,)."""
        return size * self.shape


def profile(weights: Floats, power: float) -> Profile:
    """shape_r = (rms_r / g)^power with g the geometric mean over rows that are not zero; 1 for those that are.

    Rounded to half octaves: a row's step then costs about three bits to store instead of eleven, and an eighth of
    an octave too much or too little on average costs 1 % in squared error.
    """
    rms = row_rms(weights)
    alive = rms > 0
    if not alive.any():
        return Profile(np.ones_like(rms), 1.0)
    octaves = np.log2(rms, out=np.zeros_like(rms), where=alive)
    mean = float(octaves[alive].mean())
    relative = np.where(alive, octaves - mean, 0.0)
    return Profile(np.exp2(np.rint(2 * power * relative) / 2), 2.0**mean)


@dataclass(frozen=True)
class Loss:
    """Mean negative log-likelihood in nats over fixed rows (B, T + 1), of `weights` with some replaced."""

    backend: Backend
    weights: Mapping[str, Floats]
    rows: Ids

    def __call__(self, changed: Mapping[str, Floats] | None = None) -> float:
        self.backend.load({**self.weights, **(changed or {})})
        nats = self.backend.nll(self.rows[:, :-1], self.rows[:, 1:])
        return float(nats.astype(np.float64).mean())


def increase(loss: Loss, base: float, name: str, steps: NDArray[np.float64]) -> float:
    """The loss increase in nats per token when the tensor `name` alone has these steps; `base` = loss().

    Cost: two evaluations of the loss. Noise can make it negative where it is small.
    """
    weights = loss.weights[name]
    error = Ecsq().quantize_at(weights, steps).dequantize().reshape(weights.shape) - weights
    return (loss({name: weights + error}) + loss({name: weights - error})) / 2 - base
