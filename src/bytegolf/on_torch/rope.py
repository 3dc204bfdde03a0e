"""Rotary position embedding (Su et al. 2021), half-split layout, rotating by -theta."""

from __future__ import annotations

import torch
from torch import nn


class Rope(nn.Module):
    """Angles pos * base^(-2i/hd) for i < hd/2; with x = (a, b) halves: (a cos + b sin, b cos - a sin).

    The tables hold `length` positions and grow on demand, so a window at scoring may be longer than training.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, head_dim: int, base: float, length: int) -> None:
        super().__init__()
        self.head_dim, self.base = head_dim, base
        for name, table in zip(("cos", "sin"), self._tables(length), strict=True):
            self.register_buffer(name, table, persistent=False)

    def _tables(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
        angles = torch.outer(torch.arange(length, dtype=torch.float64), self.base**-exponent)
        return angles.cos(), angles.sin()

    def forward(self, x_BHTd: torch.Tensor) -> torch.Tensor:
        length = x_BHTd.shape[-2]
        if length > self.cos.shape[0]:
            self.cos, self.sin = (t.to(self.cos) for t in self._tables(length))
        cos, sin = self.cos[:length].to(x_BHTd.dtype), self.sin[:length].to(x_BHTd.dtype)
        a, b = x_BHTd.chunk(2, dim=-1)
        return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)
