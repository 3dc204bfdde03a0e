"""Rotary position embedding (Su et al. 2021), half-split layout, rotating by -theta."""

from __future__ import annotations

import torch
from torch import nn


class Rope(nn.Module):
    """Angles pos * base^(-2i/r) for i < r/2; with x = (a, b) halves: (a cos + b sin, b cos - a sin).

    Only the first r = `rotated` dimensions of a head rotate; the others pass unchanged.

    The tables hold `length` positions and grow on demand, so a window at scoring may be longer than training.
    They are float32, since MPS takes no float64; a float64 input gets tables of its own.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, rotated: int, base: float, length: int) -> None:
        super().__init__()
        self.rotated, self.base = rotated, base
        for name, table in zip(("cos", "sin"), self._tables(length, torch.empty(0)), strict=True):
            self.register_buffer(name, table, persistent=False)

    @torch.inference_mode(False)  # a table that scoring needs first may be used in training later
    def _tables(self, length: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        exponent = torch.arange(0, self.rotated, 2, dtype=torch.float64) / self.rotated
        angles = torch.outer(torch.arange(length, dtype=torch.float64), self.base**-exponent)
        return angles.cos().to(like), angles.sin().to(like)

    def forward(self, x_BHTd: torch.Tensor, start: int = 0) -> torch.Tensor:
        """`start` is the position of the first token."""
        length = start + x_BHTd.shape[-2]
        if length > self.cos.shape[0]:
            self.cos, self.sin = self._tables(length, self.cos)
        exact = x_BHTd.dtype == torch.float64
        cos, sin = self._tables(length, x_BHTd) if exact else (self.cos, self.sin)
        cos, sin = cos[start:length], sin[start:length]
        cos, sin = cos.to(x_BHTd.dtype), sin.to(x_BHTd.dtype)
        turned, kept = x_BHTd[..., : self.rotated], x_BHTd[..., self.rotated :]
        a, b = turned.chunk(2, dim=-1)
        return torch.cat((a * cos + b * sin, b * cos - a * sin, kept), dim=-1)
