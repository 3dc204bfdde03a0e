"""torch as an executor of the exact arithmetic (the protocol `Ops` in on_numpy/exact/ops.py), on any device with
float64.

It gives the very numbers of the other executors: sums over whole numbers are exact in any order, and every other
operation rounds once, as IEEE 754 says. Nothing here is compiled or fused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class TorchOps:
    """Tensors in float64 and int64 on `device`; sums, maxima and gathers go over the last axis."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def array(self, values: NDArray[Any]) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), device=self.device)

    def numpy(self, x: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = x.cpu().numpy()
        return found

    def rint(self, x: Tensor) -> Tensor:
        """To the nearest whole number, halves to the even one."""
        return torch.round(x)

    def floor(self, x: Tensor) -> Tensor:
        return torch.floor(x)

    def sqrt(self, x: Tensor) -> Tensor:
        """Correctly rounded. On the CPU torch may ask a vector library that is an ulp off: numpy does not."""
        if self.device.type == "cpu":
            return torch.from_numpy(np.sqrt(x.numpy()))
        return torch.sqrt(x)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def total(self, x: Tensor) -> Tensor:
        return x.sum(dim=-1)

    def dot(self, x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(dim=-1)

    def max(self, x: Tensor) -> Tensor:
        return x.amax(dim=-1)

    def argmax(self, x: Tensor) -> Tensor:
        """The first of the largest."""
        return x.argmax(dim=-1)

    def index(self, x: Tensor) -> Tensor:
        """Whole numbers, below 2^62 in magnitude, as int64."""
        return x.to(torch.int64)

    def exponent(self, x: Tensor) -> Tensor:
        """int64 e with |x| = m 2^e, 1/2 <= m < 1; 0 for 0."""
        return torch.frexp(x).exponent.to(torch.int64)

    def gather(self, table: Tensor, index: Tensor) -> Tensor:
        """table[index] of a one-dimensional table; an int64 index beyond an end means that end."""
        return table[index.clamp(0, len(table) - 1)]

    def rows(self, table: Tensor, index: NDArray[np.int64]) -> Tensor:
        return table[torch.tensor(index, device=self.device)]

    def columns(self, x: Tensor, index: NDArray[np.int64]) -> Tensor:
        """x[..., index]."""
        return x[..., torch.tensor(index, device=self.device)]

    def masked(self, x: Tensor, hidden: Tensor, value: float) -> Tensor:
        """x, with `value` where hidden."""
        return x.masked_fill(hidden, value)

    def mask(self, values: NDArray[np.bool_]) -> Tensor:
        return self.array(values)

    def concat(self, parts: list[Tensor], axis: int) -> Tensor:
        return torch.cat(parts, dim=axis)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def contiguous(self, x: Tensor) -> Tensor:
        return x.contiguous()

    def add_at(self, x: Tensor, index: Tensor, value: Tensor) -> Tensor:
        """x, in place, with `value` added at one index of the last axis each."""
        flat = x.reshape(-1, x.shape[-1])
        flat[torch.arange(len(flat), device=self.device), index.reshape(-1)] += value.reshape(-1)
        return x
