"""Rotary position embedding (Su et al. 2021), half-split layout, rotating by -theta."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module


class Rope(Module):
    """Angles pos * base^(-2i/r) for i < r/2; with x = (a, b) halves: (a cos + b sin, b cos - a sin).

    Only the first r = `rotated` dimensions of a head rotate; the others pass unchanged.

    `mx.fast.rope` with scale -1 is the same rotation, from angles that it computes in float32: at position 65,536
    cosines are then off by 0.002. These tables come from float64; they hold `length` positions and grow on demand.
    """

    def __init__(self, rotated: int, base: float, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rotated, self.base = rotated, base
        self._cos, self._sin = self._tables(length)

    def _tables(self, length: int) -> tuple[mx.array, mx.array]:
        exponent = np.arange(0, self.rotated, 2) / self.rotated
        angles = np.outer(np.arange(length), self.base**-exponent)
        return mx.array(np.cos(angles).astype(np.float32)), mx.array(np.sin(angles).astype(np.float32))

    def __call__(self, x_BHTd: mx.array, start: int = 0) -> mx.array:
        """`start` is the position of the first token."""
        length = start + x_BHTd.shape[-2]
        if length > self._cos.shape[0]:
            self._cos, self._sin = self._tables(length)
        cos, sin = (table[start:length].astype(x_BHTd.dtype) for table in (self._cos, self._sin))
        half = self.rotated // 2
        a, b, kept = x_BHTd[..., :half], x_BHTd[..., half : self.rotated], x_BHTd[..., self.rotated :]
        return mx.concatenate([a * cos + b * sin, b * cos - a * sin, kept], axis=-1)
