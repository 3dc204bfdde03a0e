"""The few operations that every numpy twin uses, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = dict[str, Floats]

EPS = 2.0**-23


def under(weights: Weights, prefix: str) -> Weights:
    """The tensors below a prefix, under their short names."""
    start = prefix + "."
    return {name[len(start) :]: array for name, array in weights.items() if name.startswith(start)}


def rms_norm(x: Floats) -> Floats:
    """x / sqrt(mean(x^2) + 2^-23) over the last axis."""
    return np.asarray(x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPS))


def rope(x_HTd: Floats, base: float, rotated: int = 0) -> Floats:
    """Rotate the first r = `rotated` dimensions (0: all) by -theta, half-split; the others pass unchanged.

    With their halves (a, b): (a cos + b sin, b cos - a sin), theta = t base^(-2i/r).
    """
    length, size = x_HTd.shape[-2], rotated or x_HTd.shape[-1]
    theta = np.outer(np.arange(length), base ** -(np.arange(0, size, 2) / size))
    a, b = np.split(x_HTd[..., :size], 2, axis=-1)
    turned = (a * np.cos(theta) + b * np.sin(theta), b * np.cos(theta) - a * np.sin(theta))
    return np.concatenate((*turned, x_HTd[..., size:]), axis=-1)


def softcap(x: Floats, cap: float) -> Floats:
    """cap tanh(x / cap)."""
    return np.asarray(cap * np.tanh(x / cap))
