"""Modules whose parameters are exactly the tensors that a specification declares, and what all of them use."""

from __future__ import annotations

from collections.abc import Iterable

import mlx.core as mx
from mlx.nn.layers.base import Module

from bytegolf.model.spec import Tensor

NORM_EPS = 2.0**-23


class Declared(Module):
    """Holds one float32 array per declared tensor; weights are loaded by name later.

    To a Module every array, list or dict among its attributes is made of parameters, unless its name begins with
    an underscore.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for tensor in tensors:
            self[tensor.name] = mx.zeros(tensor.shape)


def rms_norm(x: mx.array) -> mx.array:
    """x / sqrt(mean(x^2) + 2^-23) over the last dimension, no gain. MLX's own modules add 1e-5 or 1e-6 instead."""
    return mx.fast.rms_norm(x, None, NORM_EPS)


def shifted(x: mx.array) -> mx.array:
    """(B, T, ..): position t holds what t - 1 had, the first one zeros."""
    return mx.concatenate([mx.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
