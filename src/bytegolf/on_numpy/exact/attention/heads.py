"""Exact twin of model.components.heads: a cache of keys and values, and attention over it in whole numbers.

Shapes: L lanes, T new tokens, N cached tokens, H query heads, K key-value heads, G = H / K, d head size.
"""

from __future__ import annotations

import math

import numpy as np

from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError
from bytegolf.model.components.heads import Heads as Spec
from bytegolf.on_numpy.exact.memory import Memory
from bytegolf.on_numpy.exact.ops import Array, Ops
from bytegolf.on_numpy.exact.tables import NAT, angles, exp_table
from bytegolf.on_numpy.exact.whole import Linear, Norm, Tensors, grid, pow2, power_of_two, square_grid
from bytegolf.on_numpy.ops import Floats

WEIGHT_BITS = 20  # of a softmax weight, the largest being 2^20
MOST_KEYS = 1 << 14  # that a token may see without a window
VALUE = 256.0  # values are clamped to this where no smaller bound is proven


class Heads:
    """From queries, keys and values joined, (L, T, (H + 2 K) d), whose components have the bounds `rows`.

    q, k: normed, turned, then X = rint(2^b x); |q.k| <= gain d (Cauchy-Schwarz) sets b. Weights are
    exp_table[rint((max - q.k) NAT / sqrt(d))], whole numbers of WEIGHT_BITS bits; values are rint(2^c v) with
    c from the number of keys; out = (weights @ values) / total(weights): sums of whole numbers, one division.
    """

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, rows: Floats) -> None:
        self._ops, self._spec, self._size = ops, spec, model.dim // spec.heads
        turned = (spec.heads + spec.kv_heads) * self._size
        name = tensors["proj"].name.removesuffix(".proj")
        bits = square_grid(float(rows[:turned].max(initial=0.0)), self._size, f"{name}.q and .k")
        self._fine, self._norm = pow2(bits), Norm(ops, self._size, bits)
        self._angles = angles(spec.rope_base, spec.rotated(model))
        self._rotated = spec.rotated(model)

        gain = tensors["q_gain"].values()
        largest = float(np.abs(gain).max(initial=0.0))
        # 4: the turned, rounded vectors may be a little longer than sqrt(d)
        score = grid(4.0 * max(largest, 1.0) * self._size, tensors["q_gain"].name, 12, 32) // 2
        factors = np.concatenate((gain, np.ones(spec.kv_heads)))[:, None] * pow2(score)
        self._factors = ops.array(factors)
        self._to_nats = pow2(-2 * score) * NAT / math.sqrt(self._size)
        self._exp = ops.array(exp_table(WEIGHT_BITS))

        proven = float(rows[turned:].max(initial=0.0))
        self._clamps = proven > VALUE
        value = power_of_two(min(proven, VALUE))
        keys = spec.window or MOST_KEYS
        self._value_bits = grid(pow2(WEIGHT_BITS) * keys * value, f"{name}.v")
        self._most = value * pow2(self._value_bits)
        given = pow2(-self._value_bits)
        self._proj = Linear(ops, [tensors["proj"]], limit=value, clamp=False, given=given)

    def start(self, lanes: int) -> Memory:
        empty = self._ops.zeros((lanes, self._spec.kv_heads, 0, self._size))
        return Memory(k=empty, v=empty, used=[0] * lanes)

    def tables(self) -> list[object]:
        return [*self._angles.tables()]

    def __call__(self, joined: Array, memory: Memory, first: int) -> Array:
        lanes, new = joined.shape[:2]
        kv_heads, group, size = self._spec.kv_heads, self._spec.heads // self._spec.kv_heads, self._size
        split = joined.reshape(lanes, new, -1, size)
        turned = self._turned(split[:, :, : self._spec.heads + kv_heads], first)
        q = turned[:, :, : self._spec.heads].reshape(lanes, new, kv_heads, group, size)
        if new > 1:  # one new token lies in this order already
            q = self._ops.contiguous(q.swapaxes(1, 2).swapaxes(2, 3))
        q = q.reshape(lanes, kv_heads, group * new, size)
        v = self._ops.rint(split[:, :, self._spec.heads + kv_heads :] * pow2(self._value_bits))
        if self._clamps:
            v = self._ops.clip(v, -self._most, self._most)
        k_LKNd, v_LKNd = self._remember(memory, turned[:, :, self._spec.heads :], v)
        scores = q @ k_LKNd.swapaxes(2, 3)
        out = self._mix(scores, v_LKNd, new).reshape(lanes, kv_heads, group, new, size)
        if new > 1:
            out = self._ops.contiguous(out.swapaxes(2, 3).swapaxes(1, 2))
        return self._proj(out.reshape(lanes, new, -1))

    def _turned(self, x: Array, first: int) -> Array:
        """Normed, rotated, times the gain of the head, as whole numbers; x (L, T, H + K, d)."""
        ops, half = self._ops, self._rotated // 2
        x = self._norm(ops.rint(x * self._fine))
        cos, sin = (ops.array(angle[:, None]) for angle in self._angles.at(first, x.shape[1]))
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        x = ops.concat([a * cos + b * sin, b * cos - a * sin, rest], axis=-1)
        return ops.rint(x * self._factors)

    def _remember(self, memory: Memory, k: Array, v: Array) -> tuple[Array, Array]:
        """The keys and values (L, K, N, d) that any of the new tokens may see, the new ones last."""
        new = k.shape[1]
        used = memory["used"][0]
        keep = min(used, self._spec.window - 1) if self._spec.window else used
        if not self._spec.window and used + new > MOST_KEYS:
            raise ConfigError(
                f"exact attention without a window sees at most {MOST_KEYS:,} tokens",
                got=f"a context of {used + new:,} or more",
                where="score.context",
                fix=f"pass --context {MOST_KEYS} or less",
            )
        result = []
        for name, x in (("k", k), ("v", v)):
            cache = memory[name]
            if used + new > cache.shape[2]:
                room = self._ops.zeros((*cache.shape[:2], max(2 * (keep + new), 256), self._size))
                room[:, :, :keep] = cache[:, :, used - keep : used]
                memory[name] = cache = room
                end = keep + new
            else:
                end = used + new
            cache[:, :, end - new : end] = x.swapaxes(1, 2)
            result.append(cache[:, :, end - new - keep : end])
        memory["used"] = [end] * len(memory["used"])
        return result[0], result[1]

    def _mix(self, scores: Array, v_LKNd: Array, new: int) -> Array:
        """Softmax over the keys and the mean of the values, in units of 2^-value_bits; (L, K, G T, d)."""
        ops = self._ops
        if new > 1:
            keys, group = scores.shape[3], scores.shape[2] // new
            scores = ops.masked(scores, ops.mask(self._hidden(new, keys, group)), -pow2(60))
        nats = ops.rint((ops.max(scores)[..., None] - scores) * self._to_nats)
        weights = ops.gather(self._exp, ops.index(nats))
        return (weights @ v_LKNd) / ops.total(weights)[..., None]

    def _hidden(self, new: int, keys: int, group: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """(G T, N): the keys that each new token may not see."""
        distance = (keys - new + np.arange(new))[:, None] - np.arange(keys)[None, :]
        hidden = distance < 0
        if self._spec.window:
            hidden |= distance >= self._spec.window
        return np.tile(hidden, (group, 1))
