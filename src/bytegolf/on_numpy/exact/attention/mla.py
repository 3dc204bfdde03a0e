"""Exact twin of model.components.mla."""

from __future__ import annotations

import math

import numpy as np

from bytegolf.config.schema import Model
from bytegolf.model.components.mla import Mla as Spec
from bytegolf.on_numpy.exact.attention.heads import Heads
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.whole import Linear, Tensors
from bytegolf.on_numpy.ops import Floats

LATENT = 256.0  # the latent is clamped to this where no smaller bound is proven


class Mla:
    """One product for queries and latent, one for keys and values from the latent."""

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors) -> None:
        self._ops, self._dim = ops, model.dim
        width = math.sqrt(model.dim)
        self._down = Linear(ops, [tensors["q"], tensors["kv_down"]], limit=width, clamp=False, norm=width)
        q_bounds, latent_bounds = np.split(self._down.row_bounds, [model.dim])
        latent = float(latent_bounds.max(initial=0.0))
        self._up = Linear(
            ops, [tensors["k_up"], tensors["v_up"]], limit=min(latent, LATENT), clamp=latent > LATENT
        )
        bounds = np.concatenate((q_bounds, self._up.row_bounds))
        self._heads = Heads(ops, spec, model, tensors, bounds)
        q_units, kv_units = np.split(self._heads.units, [model.dim])
        self._down.in_units(np.concatenate((q_units, np.ones(spec.kv_rank))))
        self._up.in_units(kv_units)
        self.bound = self._heads.bound

    def start(self, lanes: int) -> Memory:
        return self._heads.start(lanes)

    def __call__(self, x_ND: Array, memory: Memory, first: int) -> Array:
        joined = self._down(x_ND)
        up = self._up(joined[:, self._dim :])
        return self._heads(self._ops.concat([joined[:, : self._dim], up], axis=-1), memory, first)

    def tables(self) -> list[Floats]:
        return self._heads.tables()
