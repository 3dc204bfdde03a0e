"""Exact twin of model.components.heads: a cache of keys and values, and attention over it in whole numbers.

Shapes: L lanes, T new tokens, N keys in reach, H query heads, K key-value heads, G = H / K, d head size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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
ROOM = 256  # tokens a cache holds at first


class Heads:
    """Attention from queries, keys and values joined, (L T, (H + 2 K) d), whose components have the bounds `rows`.

    The owner multiplies the joined rows by `units`, powers of two, and the rest is whole numbers: q and k normed,
    turned, then X = rint(2^b x); |q.k| <= gain d (Cauchy-Schwarz) sets b. Weights are
    exp_table[rint((max - q.k) NAT / sqrt(d))], whole numbers of WEIGHT_BITS bits; values are rint(2^c v) with c
    from the number of keys; out = (weights @ values) / total(weights): sums of whole numbers, one division.
    """

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, rows: Floats) -> None:
        self._ops, self._spec, self._size = ops, spec, model.dim // spec.heads
        self._turns = spec.heads + spec.kv_heads
        turned = self._turns * self._size
        name = tensors["proj"].name.removesuffix(".proj")
        bits = square_grid(float(rows[:turned].max(initial=0.0)), self._size, f"{name}.q and .k")
        self._norm = Norm(ops, self._size, bits)
        self._angles = angles(spec.rope_base, spec.rotated(model))
        self._cos, self._sin = ops.zeros((0, 1, self._size)), ops.zeros((0, 1, self._size))
        half = spec.rotated(model) // 2
        places = np.arange(self._size)
        self._partner = np.concatenate((places[half : 2 * half], places[:half], places[2 * half :]))

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
        value_bits = grid(pow2(WEIGHT_BITS) * keys * value, f"{name}.v")
        self._most = value * pow2(value_bits)
        self._proj = Linear(ops, [tensors["proj"]], limit=value, clamp=False, given=pow2(-value_bits))
        self.bound = self._proj.bound
        self.units = np.where(np.arange(len(rows)) < turned, pow2(bits), pow2(value_bits))

    def start(self, lanes: int) -> Memory:
        empty = self._ops.zeros((lanes, self._spec.kv_heads, 0, self._size))
        return Memory(k=empty, v=empty, used=[0] * lanes)

    def tables(self) -> list[Floats]:
        return self._angles.tables()

    def __call__(self, joined: Array, memory: Memory, first: int) -> Array:
        """`joined` in `units`; (L T, H d) after the projection."""
        ops, lanes = self._ops, len(memory["used"])
        new, heads, kv_heads = joined.shape[0] // lanes, self._spec.heads, self._spec.kv_heads
        group, size = heads // kv_heads, self._size
        whole = ops.rint(joined).reshape(lanes, new, self._turns + kv_heads, size)
        turned = self._turned(whole[:, :, : self._turns], first)
        v = whole[:, :, self._turns :]
        if self._clamps:
            v = ops.clip(v, -self._most, self._most)
        q = turned[:, :, :heads].reshape(lanes, new, kv_heads, group, size)
        if new > 1:  # one new token lies in this order already
            q = ops.contiguous(q.swapaxes(1, 2).swapaxes(2, 3))
        q = q.reshape(lanes, kv_heads, group * new, size)
        k_LKNd, v_LKNd = self._remember(memory, turned[:, :, heads:], v)
        out = self._mix(q @ k_LKNd.swapaxes(2, 3), v_LKNd, new)
        if new > 1:
            out = out.reshape(lanes, kv_heads, group, new, size).swapaxes(2, 3).swapaxes(1, 2)
            out = ops.contiguous(out)
        return self._proj(out.reshape(lanes * new, heads * size))

    def _turned(self, whole: Array, first: int) -> Array:
        """Normed, rotated, times the gain of the head, as whole numbers; (L, T, H + K, d).

        x cos + partner(x) sin, where partner swaps the halves and the sine of the second half is negative.
        """
        end = first + whole.shape[1]
        if end > self._cos.shape[0]:
            self._tabulate(end)
        x = self._norm(whole)
        x = x * self._cos[first:end] + self._ops.columns(x, self._partner) * self._sin[first:end]
        return self._ops.rint(x * self._factors)

    def _tabulate(self, end: int) -> None:
        """Cosines and sines (positions, 1, d) up to `end` and some beyond; what does not turn has 1 and 0."""
        end = max(2 * self._cos.shape[0], end, ROOM)
        cos, sin = self._angles.at(0, end)
        still = np.ones((end, self._size - 2 * cos.shape[1]))
        self._cos = self._ops.array(np.concatenate((cos, cos, still), axis=1)[:, None])
        self._sin = self._ops.array(np.concatenate((sin, -sin, 0.0 * still), axis=1)[:, None])

    def _remember(self, memory: Memory, k: Array, v: Array) -> tuple[Array, Array]:
        """The keys and values (L, K, N, d) that any of the new tokens may see, the new ones last."""
        new, used = k.shape[1], memory["used"][0]
        keep = min(used, self._spec.window - 1) if self._spec.window else used
        if not self._spec.window and used + new > MOST_KEYS:
            raise ConfigError(
                f"exact attention without a window sees at most {MOST_KEYS:,} tokens",
                got=f"a context of {used + new:,} or more",
                where="score.context",
                fix=f"pass --context {MOST_KEYS} or less",
            )
        if used + new > memory["k"].shape[2]:
            for name in ("k", "v"):
                cache = memory[name]
                memory[name] = self._ops.zeros((*cache.shape[:2], max(2 * (keep + new), ROOM), self._size))
                memory[name][:, :, :keep] = cache[:, :, used - keep : used]
            used = keep
        end = used + new
        memory["used"] = [end] * len(memory["used"])
        if new == 1:
            memory["k"][:, :, used] = k[:, 0]
            memory["v"][:, :, used] = v[:, 0]
        else:
            memory["k"][:, :, used:end] = k.swapaxes(1, 2)
            memory["v"][:, :, used:end] = v.swapaxes(1, 2)
        return memory["k"][:, :, used - keep : end], memory["v"][:, :, used - keep : end]

    def _mix(self, scores: Array, v_LKNd: Array, new: int) -> Array:
        """Softmax over the keys and the mean of the values, in their units; (L, K, G T, d)."""
        ops = self._ops
        if new > 1:
            keys, group = scores.shape[3], scores.shape[2] // new
            scores = ops.masked(scores, ops.mask(self._hidden(new, keys, group)), -pow2(60))
        nats = ops.rint((ops.max(scores)[..., None] - scores) * self._to_nats)
        weights = ops.gather(self._exp, ops.index(nats))
        return (weights @ v_LKNd) / ops.total(weights)[..., None]

    def _hidden(self, new: int, keys: int, group: int) -> NDArray[np.bool_]:
        """(G T, N): the keys that each new token may not see."""
        distance = (keys - new + np.arange(new))[:, None] - np.arange(keys)[None, :]
        hidden = distance < 0
        if self._spec.window:
            hidden |= distance >= self._spec.window
        return np.tile(hidden, (group, 1))
