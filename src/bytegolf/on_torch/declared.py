"""Modules whose parameters are exactly the tensors that a specification declares."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from bytegolf.model.spec import Tensor


class Declared(nn.Module):
    """Registers one uninitialised float32 parameter per declared tensor; weights are loaded by name later."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        for tensor in tensors:
            self.register_parameter(tensor.name, nn.Parameter(torch.empty(tensor.shape)))


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    """x / sqrt(mean(x^2) + 2^-23) over the last dimension, no gain. eps is pinned: every twin uses this one."""
    return nn.functional.rms_norm(x, (x.shape[-1],), eps=2.0**-23)
