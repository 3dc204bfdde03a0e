"""The model in exact arithmetic: the same integers on every machine, for one token or many, one lane or many.

A packed model is a handful of integer matrices. Here every sum runs over whole numbers small enough to be
exact in float64 (whole.py), and between the sums stand single IEEE operations and integer tables (ops.py,
tables.py). So the logits do not depend on how many tokens are read at a time, how many lanes go side by side,
threads, BLAS, or the instruction set, and a decoder elsewhere sees the very numbers that the encoder saw.
Within rounding they are those of on_numpy/forward.py.

Shapes: L lanes, T new tokens, N = L T, D width, V vocabulary. A lane is a text of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.artifact.format import StoredTensor
from bytegolf.config.schema import Model
from bytegolf.errors import ArtifactError
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, NumpyOps, Ops
from bytegolf.on_numpy.exact.tables import digest, exp_table
from bytegolf.on_numpy.exact.whole import HIGHEST, FloatingNorm, Norm, Stored, Tensors, pow2, square_grid

VERSION = 1  # of the arithmetic: any change of a rounding, a grid or a table is a new one
TOTAL_BITS = 24  # frequencies sum to 2^24
TOTAL = 1 << TOTAL_BITS
_EXP_BITS = 36  # of the exponentials they come from; 2^16 of them sum to at most 2^52


@dataclass
class State:
    """Where the lanes stand. `position` tokens have been read in each."""

    mixers: list[Memory]
    attention: list[Memory]
    lanes: int
    position: int = 0

    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes, in this order; the others end."""
        for memory in (*self.mixers, *self.attention):
            memory.keep(list(lanes))
        self.lanes = len(lanes)


@dataclass(frozen=True)
class _Layer:
    mix_x: Array
    mix_x0: Array
    attention: Any
    attention_scale: Array
    mlp: Any
    mlp_scale: Array


class Exact:
    """A packed model, ready to be read in lanes.

    Raises ConfigError, naming it, for a component that has no exact form, and ArtifactError, naming the
    tensor, for a model whose sums cannot be proven exact.
    """

    def __init__(self, model: Model, tensors: Sequence[StoredTensor], ops: Ops | None = None) -> None:
        self.model = model
        self._ops = ops or NumpyOps()
        stored = {tensor.name: Stored.of(tensor) for tensor in tensors}
        self._embedding = stored["embed.weight"]
        self._rows = self._ops.array(self._embedding.values())
        self._before, self._after, self._embed_bits = self._mixers(stored)
        self._embed_norm = Norm(self._ops, model.dim, self._embed_bits)
        self._norm = FloatingNorm(self._ops, model.dim)
        self._steps = model.plan.steps(model)
        self._layers = [self._layer(stored, layer) for layer in range(model.layers)]
        plan = _under(stored, "plan")
        self._skips = [self._ops.array(row) for row in plan["skips"].values()] if "skips" in plan else []
        self._check_stream(stored)
        head = registry.lookup("head", model.head.kind, "exact")
        self._head = head(self._ops, model.head, model, _under(stored, "head"), self._embedding)
        self._exp = self._ops.array(exp_table(_EXP_BITS))
        self._free = self._ops.array(np.array([float(TOTAL - model.vocab_size)]))

    def identity(self) -> bytes:
        """sha256 over the version of the arithmetic and every table in use: equal where the integers are equal."""
        tables = [self._ops.numpy(self._exp), *self._head.tables()]
        for layer in self._layers[:1]:  # all layers have the same attention
            tables += layer.attention.tables()
        return hashlib.sha256(VERSION.to_bytes(4, "little") + digest(tables)).digest()

    def start(self, lanes: int) -> State:
        """New lanes, nothing read."""
        mixers = [mixer.start(lanes) for mixer in (*self._before, *self._after)]
        return State(mixers, [self._layers[s.layer].attention.start(lanes) for s in self._steps], lanes)

    def read(self, state: State, ids_LT: NDArray[np.integer]) -> Array:
        """Read T more tokens in every lane -> the normed stream (L, T, D) that `logits` and `extras` take.

        Cost: two operations a weight and token, and the attention.
        """
        lanes, new = ids_LT.shape
        x_ND = x0_ND = self._embed(state, ids_LT.astype(np.int64))
        outputs: dict[int, Array] = {}
        for step, memory in zip(self._steps, state.attention, strict=True):
            layer = self._layers[step.layer]
            if step.skip is not None:
                x_ND = x_ND + self._skips[step.skip.index] * outputs[step.skip.source]
            x_ND = layer.mix_x * x_ND + layer.mix_x0 * x0_ND
            branch_ND = layer.attention(self._norm(x_ND), memory, state.position)
            x_ND = x_ND + branch_ND * layer.attention_scale
            x_ND = x_ND + layer.mlp(self._norm(x_ND)) * layer.mlp_scale
            outputs[step.layer] = x_ND
        state.position += new
        return self._norm(x_ND).reshape(lanes, new, -1)

    def logits(self, x_LTD: Array) -> Array:
        """int64 (L, T, V): the logits of the next token in 1/1024 nat."""
        logits_NV = self._head(x_LTD.reshape(-1, x_LTD.shape[-1]))
        return logits_NV.reshape(*x_LTD.shape[:-1], -1)

    def extras(self, x_LTD: Array) -> Array:
        """Whole numbers (L, T, V) >= 0 that sum to 2^24 - V: frequencies less the one that every token has.

        e = exp_table[max - logit]; extra = floor(e ((2^24 - V) / sum e)); what is left over goes to the first
        of the largest. The floors sum to at most 2^24 - V: the quotient and the products are each off by at
        most one part in 2^53.
        """
        ops, logits_NV = self._ops, self._head(x_LTD.reshape(-1, x_LTD.shape[-1]))
        e_NV = ops.gather(self._exp, ops.max(logits_NV)[:, None] - logits_NV)
        extra_NV = ops.floor(e_NV * (self._free / ops.total(e_NV))[:, None])
        extra_NV = ops.add_at(extra_NV, ops.argmax(logits_NV), self._free - ops.total(extra_NV))
        return extra_NV.reshape(*x_LTD.shape[:-1], -1)

    def numpy(self, x: Array) -> NDArray[np.float64]:
        """An array of the executor as one of numpy."""
        return self._ops.numpy(x)

    def _embed(self, state: State, ids_LT: NDArray[np.int64]) -> Array:
        """What the layers begin with, (N, D)."""
        x_ND = self._ops.rows(self._rows, ids_LT.ravel())
        memories = iter(state.mixers)
        for mixer in self._before:
            x_ND = mixer(x_ND, ids_LT, next(memories))
        x_ND = self._embed_norm(self._ops.rint(x_ND * pow2(self._embed_bits)))
        for mixer in self._after:
            x_ND = mixer(x_ND, ids_LT, next(memories))
        return x_ND

    def _mixers(self, stored: Tensors) -> tuple[list[Any], list[Any], int]:
        """The mixers before and after the norm of the embedding, and the bits of the grid it is normed on."""
        groups: dict[str, list[Any]] = {"before_norm": [], "after_norm": []}
        bounds = {"before_norm": self._embedding.largest(), "after_norm": math.sqrt(self.model.dim)}
        for i, spec in enumerate(self.model.embed.mixers):
            kind, tensors = registry.lookup("mixer", spec.kind, "exact"), _under(stored, f"embed.mixers.{i}")
            at = spec.placement
            groups[at].append(kind(self._ops, spec, self.model, tensors, self._embedding, bounds[at]))
            bounds[at] = groups[at][-1].bound
        bits = square_grid(bounds["before_norm"], self.model.dim, self._embedding.name)
        self._start_bound = bounds["after_norm"]
        return groups["before_norm"], groups["after_norm"], bits

    def _check_stream(self, stored: Tensors) -> None:
        """Raise ArtifactError, naming the layer, unless the stream stays below 2^HIGHEST whatever the text."""

        def largest(name: str) -> float:
            return stored[name].largest()

        start = self._start_bound
        bound, outputs = start, dict[int, float]()
        for step in self._steps:
            layer, name = self._layers[step.layer], f"blocks.{step.layer}"
            if step.skip is not None:
                bound += largest("plan.skips") * outputs[step.skip.source]
            bound = largest(f"{name}.mix_x") * bound + largest(f"{name}.mix_x0") * start
            bound += largest(f"{name}.attention_scale") * layer.attention.bound
            bound += largest(f"{name}.mlp_scale") * layer.mlp.bound
            outputs[step.layer] = bound
            if not bound < pow2(HIGHEST - 1):
                raise ArtifactError(
                    f"tensor {name}: the residual stream behind this layer could leave all bounds",
                    got=f"magnitudes up to {bound:.3g}",
                    fix="the training diverged: lower the learning rates, or pack an earlier checkpoint",
                )

    def _layer(self, stored: Tensors, layer: int) -> _Layer:
        model, tensors = self.model, _under(stored, f"blocks.{layer}")
        attention = registry.lookup("attention", model.attention.kind, "exact")
        mlp = registry.lookup("mlp", model.mlp.kind, "exact")

        def vector(name: str) -> Array:
            return self._ops.array(tensors[name].values())

        return _Layer(
            mix_x=vector("mix_x"),
            mix_x0=vector("mix_x0"),
            attention=attention(self._ops, model.attention, model, _under(tensors, "attention")),
            attention_scale=vector("attention_scale"),
            mlp=mlp(self._ops, model.mlp, model, _under(tensors, "mlp")),
            mlp_scale=vector("mlp_scale"),
        )


def _under(tensors: Tensors, prefix: str) -> Tensors:
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
