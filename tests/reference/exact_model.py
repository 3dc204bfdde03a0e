"""The model of docs/exact.md in plain Python, a token at a time: no numpy, nothing of bytegolf.

`ExactModel` is a .golf file made ready, `Row` one row that it reads: `row.read(token)` gives the frequencies of
the token that comes next. Vectors are lists of floats. Slow, and meant to be read.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from operator import mul
from typing import Any

from reference.exact_sums import (
    EPS,
    Linear,
    Vector,
    Weights,
    above,
    clamped,
    exponent,
    grid,
    norm,
    squares,
    weights_of,
    whole,
)
from reference.exact_tables import CAP_END, angles, cap_table, exp_table, sigmoid, turn_tables
from reference.golf_reader import GolfFile, need

VERSION = 1
TOTAL = 1 << 24
LONGEST_ROW = 16_384
Tensors = dict[str, Weights]


def under(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors of one component, by their short names."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


# Embedding


class BigramHash:
    """x + linear(table[bucket]; proj) scale; `bigram_hash_prime` has another bucket and no scale."""

    def __init__(self, config: dict[str, Any], tensors: Tensors, bos: int) -> None:
        self._bos = bos if config["stop_at_bos"] else None
        self._buckets, self._multiplier = config["buckets"], config.get("multiplier")
        self._table = tensors["table"]
        self._proj = Linear([tensors["proj"]], limit=self._table.largest())
        self._scale = tensors["scale"].row(0)[0] if "scale" in tensors else 1.0
        self.growth = abs(self._scale) * self._proj.bounds[0]

    def bucket(self, tokens: Sequence[int]) -> int:
        token, alone = tokens[-1], len(tokens) == 1 or tokens[-1] == self._bos
        if self._multiplier is not None:
            return (self._multiplier * (0 if alone else tokens[-2]) + token) % self._buckets
        if alone:
            return int(self._buckets - 1)
        return (36313 * token ^ 27191 * tokens[-2]) % (self._buckets - 1)

    def __call__(self, x: Vector, tokens: Sequence[int]) -> Vector:
        (y,) = self._proj(self._table.row(self.bucket(tokens)))
        return [a + b * self._scale for a, b in zip(x, y, strict=True)]


class Smear:
    """x own + x' other, x' the same of the token before."""

    def __init__(self, config: dict[str, Any], tensors: Tensors, bos: int) -> None:
        self._bos = bos if config["stop_at_bos"] else None
        g = [sigmoid(value) for value in tensors["gate"].row(0)]
        rest = [1 - value for value in g]
        self._own, self._other = (g, rest) if config["kind"] == "smear_keep" else (rest, g)

    def __call__(self, x: Vector, before: Vector, tokens: Sequence[int]) -> Vector:
        if tokens[-1] == self._bos:
            return x
        return [
            a * own + b * other for a, own, b, other in zip(x, self._own, before, self._other, strict=True)
        ]


class Recall:
    """x + E[f] gate_n for each order n, f what followed the latest earlier copy of the last n tokens."""

    def __init__(self, config: dict[str, Any], tensors: Tensors, bos: int, embed: Weights) -> None:
        self._bos = bos if config["stop_at_bos"] else None
        self._orders, self._gates, self._embed = config["orders"], tensors["gate"], embed
        self._b = squares(embed.largest(), len(embed.codes[0]))
        self.growth = sum(max(map(abs, self._gates.row(i))) for i in range(len(self._orders)))

    def followed(self, tokens: Sequence[int], n: int) -> int | None:
        begin = 0
        if self._bos in tokens:
            begin = max(at for at, token in enumerate(tokens) if token == self._bos)
        last = tokens[len(tokens) - n :]
        for end in range(len(tokens) - 1, begin + n - 1, -1):
            if tokens[end - n : end] == last:
                return tokens[end]
        return None

    def __call__(self, x: Vector, tokens: Sequence[int]) -> Vector:
        for place, n in enumerate(self._orders):
            f = self.followed(tokens, n)
            if f is not None:
                e = norm(whole(self._embed.row(f), 2.0**self._b), len(x), self._b)
                x = [a + b * gate for a, b, gate in zip(x, e, self._gates.row(place), strict=True)]
        return x


class Embedding:
    """Token -> x0: the row of `embed.weight`, mixers, the norm, mixers."""

    def __init__(self, config: dict[str, Any], tensors: Tensors) -> None:
        self._weight, bos = tensors["embed.weight"], config["bos_id"]
        self._before: list[BigramHash] = []
        self.after: list[Smear | Recall] = []
        bound = self._weight.largest()
        for i, mixer in enumerate(config["embed"]["mixers"]):
            own = under(tensors, f"embed.mixers.{i}.")
            if mixer["kind"] in ("bigram_hash", "bigram_hash_prime"):
                self._before.append(BigramHash(mixer, own, bos))
                bound += self._before[-1].growth
            elif mixer["kind"] in ("smear_lerp", "smear_keep"):
                self.after.append(Smear(mixer, own, bos))
            else:
                self.after.append(Recall(mixer, own, bos, self._weight))
        self._b = squares(bound, config["dim"])
        root, recalls = math.sqrt(config["dim"]), [mixer for mixer in self.after if isinstance(mixer, Recall)]
        self.bound = root + sum(recall.growth * root for recall in recalls)

    def __call__(self, tokens: Sequence[int], before: list[Vector]) -> Vector:
        """`before[i]` is what mixer i after the norm got at the token before; it is renewed."""
        x = self._weight.row(tokens[-1])
        for mixer in self._before:
            x = mixer(x, tokens)
        x = norm(whole(x, 2.0**self._b), len(x), self._b)
        for i, after in enumerate(self.after):
            x, before[i] = after(x, before[i], tokens) if isinstance(after, Smear) else after(x, tokens), x
        return x


# Layers


def floating(x: Vector) -> Vector:
    """X / sqrt(sum X^2 / D + u u EPS), X = rint(x u), u by the largest |x_i|."""
    e = max(exponent(max(map(abs, x))), -100)
    u = 2.0 ** (squares(1, len(x)) - e)
    terms = whole(x, u)
    root = math.sqrt(float(sum(map(mul, terms, terms))) / len(x) + u * u * EPS)
    return [value / root for value in terms]


Cache = tuple[list[list[list[int]]], list[list[list[int]]]]  # keys and values: of each token, of each kv head


class Attention:
    """`gqa` and `mla`."""

    def __init__(self, config: dict[str, Any], dim: int, tensors: Tensors) -> None:
        self._heads, self._kv_heads, self._window = config["heads"], config["kv_heads"], config["window"]
        self._d = dim // self._heads
        self._turned = config["rope_dims"] or self._d
        self._angles = angles(config["rope_base"], self._turned)
        root = math.sqrt(dim)
        self._up = None
        if config["kind"] == "gqa":
            self._in = Linear([tensors["q"], tensors["k"], tensors["v"]], limit=root, norm=root)
            bounds = self._in.bounds
        else:
            self._in = Linear([tensors["q"], tensors["kv_down"]], limit=root, norm=root)
            latent = self._in.bounds[1]
            self._up = Linear(
                [tensors["k_up"], tensors["v_up"]], limit=min(latent, 256.0), clamp=latent > 256
            )
            bounds = [self._in.bounds[0], *self._up.bounds]
        self._b = squares(max(bounds[:2]), self._d)
        self._gains = tensors["q_gain"].row(0)
        gain = max(1.0, *map(abs, self._gains))
        self._s = grid(4 * gain * self._d, 12, 32) // 2
        self._w, self._clamps = above(min(bounds[2], 256.0)), bounds[2] > 256
        self._c = grid(2.0**20 * (self._window or LONGEST_ROW) * self._w)
        self._proj = Linear([tensors["proj"]], limit=self._w, given=2.0**-self._c)
        self.bound = self._proj.bounds[0]

    def _turn(self, x: Vector, t: int) -> Vector:
        """A query or a key of d numbers: normed, its first dimensions turned."""
        n = norm(whole(x, 2.0**self._b), self._d, self._b)
        half = self._turned // 2
        turned = list(n)
        for j, angle in enumerate(self._angles):
            cos, sin = angle.at(t)
            turned[j] = n[j] * cos + n[j + half] * sin
            turned[j + half] = n[j + half] * cos + n[j] * -sin
        return turned

    def _cut(self, x: Vector) -> list[Vector]:
        return [x[at : at + self._d] for at in range(0, len(x), self._d)]

    def __call__(self, x: Vector, cache: Cache) -> Vector:
        """x (D) of the next token -> (D); the cache gets its key and value."""
        keys, values = cache
        t = len(keys)
        need(self._window or t < LONGEST_ROW, "exact: a row too long for attention without a window")
        q, *rest = self._in(x)
        k, v = self._up(rest[0]) if self._up else rest
        keys.append([whole(self._turn(one, t), 2.0**self._s) for one in self._cut(k)])
        z = whole(v, 2.0**self._c)
        if self._clamps:
            most = int(self._w * 2.0**self._c)
            z = [min(max(value, -most), most) for value in z]
        values.append([z[at : at + self._d] for at in range(0, len(z), self._d)])
        first = max(0, t + 1 - self._window) if self._window else 0
        out: Vector = []
        for head, one in enumerate(self._cut(q)):
            query = whole(self._turn(one, t), self._gains[head] * 2.0**self._s)
            of = head // (self._heads // self._kv_heads)
            out += self._read(query, [k[of] for k in keys[first:]], [z[of] for z in values[first:]])
        return self._proj(out)[0]

    def _read(self, query: list[int], keys: list[list[int]], values: list[list[int]]) -> Vector:
        """(sum_u p_u Z_u) / (sum_u p_u) of one head."""
        scores = [sum(map(mul, query, key)) for key in keys]
        top, table = max(scores), exp_table(20)
        factor = 2.0 ** (-2 * self._s) * 1024 / math.sqrt(self._d)
        places = [round((top - score) * factor) for score in scores]
        p = [table[place] if place < len(table) else 0 for place in places]
        total = float(sum(p))
        return [float(sum(map(mul, p, column))) / total for column in zip(*values, strict=True)]


class Mlp:
    """`relu2` and `relu2_glu`."""

    def __init__(self, config: dict[str, Any], dim: int, tensors: Tensors) -> None:
        root, self._gated = math.sqrt(dim), config["kind"] == "relu2_glu"
        names = ("gate", "up") if self._gated else ("fc",)
        self._in = Linear([tensors[name] for name in names], limit=root, norm=root)
        most = 64.0 if self._gated else 128.0
        self._h = [above(min(bound, most)) for bound in self._in.bounds]
        limit = self._h[0] * self._h[0] * (self._h[1] if self._gated else 1.0)
        self._proj = Linear([tensors["proj"]], limit=limit)
        self.bound = self._proj.bounds[0]

    def __call__(self, x: Vector) -> Vector:
        u = self._in(x)
        a = [value * value for value in clamped(u[0], 0.0, self._h[0])]
        if self._gated:
            a = [value * e for value, e in zip(a, clamped(u[1], -self._h[1], self._h[1]), strict=True)]
        return self._proj(a)[0]


class Layer:
    """x and x0 -> x, between a skip and what the next layer gets."""

    def __init__(self, config: dict[str, Any], tensors: Tensors) -> None:
        dim = config["dim"]
        self._mix_x, self._mix_x0 = tensors["mix_x"].row(0), tensors["mix_x0"].row(0)
        self._scales = tensors["attention_scale"].row(0), tensors["mlp_scale"].row(0)
        self._attention = Attention(config["attention"], dim, under(tensors, "attention."))
        self._mlp = Mlp(config["mlp"], dim, under(tensors, "mlp."))
        self._largest = [
            tensors[name].largest() for name in ("mix_x", "mix_x0", "attention_scale", "mlp_scale")
        ]

    def bound(self, x: float, x0: float) -> float:
        """What no component exceeds behind this layer."""
        parts = (x, x0, self._attention.bound, self._mlp.bound)
        return sum(map(mul, self._largest, parts))

    def __call__(self, x: Vector, x0: Vector, cache: Cache) -> Vector:
        x = [m * a + m0 * b for m, a, m0, b in zip(self._mix_x, x, self._mix_x0, x0, strict=True)]
        x = plus(x, self._attention(floating(x), cache), self._scales[0])
        return plus(x, self._mlp(floating(x)), self._scales[1])


def plus(x: Vector, y: Vector, scale: Vector) -> Vector:
    """x + y scale."""
    return [a + b * s for a, b, s in zip(x, y, scale, strict=True)]


# The model


class ExactModel:
    """The model of a config (`config.model` of the header) and its tensors, its grids chosen."""

    def __init__(self, config: dict[str, Any], tensors: Tensors) -> None:
        self.vocab_size: int = config["vocab_size"]
        self.bos: int = config["bos_id"]
        self.dim: int = config["dim"]
        self.embedding = Embedding(config, tensors)
        self.layers = [Layer(config, under(tensors, f"blocks.{i}.")) for i in range(config["layers"])]
        self.half = config["layers"] // 2 if config["plan"]["kind"] == "unet" else 0
        self.skips = [tensors["plan.skips"].row(i) for i in range(self.half)]
        root = math.sqrt(config["dim"])
        head = tensors["embed.weight" if config["head"]["kind"] == "tied" else "head.weight"]
        self._head = Linear([head], limit=root, norm=root)
        self._softcap: float = float(config["head"]["softcap"])
        need(2.0**-10 <= self._softcap <= 2.0**20, "exact: the softcap")
        heads = config["attention"]
        self._turned = heads["rope_base"], heads["rope_dims"] or config["dim"] // heads["heads"]
        self._check_stream()

    def source(self, layer: int) -> int | None:
        """The layer whose output a layer adds, by the skip of number `layer - half`."""
        return 2 * self.half - 1 - layer if self.half <= layer < 2 * self.half else None

    def _check_stream(self) -> None:
        start = bound = self.embedding.bound
        left: list[float] = []
        for i, layer in enumerate(self.layers):
            source = self.source(i)
            if source is not None:
                bound += max(abs(value) for row in self.skips for value in row) * left[source]
            bound = layer.bound(bound, start)
            need(bound < 2.0**199, f"exact: the stream behind layer {i}")
            left.append(bound)

    def identity(self) -> bytes:
        """sha256 over the version of the arithmetic and the digest of the tables in use."""
        cap = cap_table(self._softcap)
        tables: list[Sequence[float]] = [exp_table(36), [*(-value for value in reversed(cap[1:])), *cap]]
        found = hashlib.sha256()
        for table in [*tables, *turn_tables(*self._turned)]:
            found.update(struct.pack(f"<Q{len(table)}d", len(table), *table))
        return hashlib.sha256(VERSION.to_bytes(4, "little") + found.digest()).digest()

    def logits(self, h: Vector) -> list[int]:
        """cap_c[rint(z (8192 / c))], in 1/1024 nat."""
        table, factor = cap_table(self._softcap), 8192 / self._softcap
        places = whole(self._head(h)[0], factor)
        found = [table[min(abs(place), CAP_END)] for place in places]
        return [-value if place < 0 else value for place, value in zip(places, found, strict=True)]


def model_of(file: GolfFile) -> ExactModel:
    """The model in a file."""
    return ExactModel(file.config["model"], {stored.name: weights_of(stored) for stored in file.tensors})


class Row:
    """One row: what it read, and what the tokens to come will look at."""

    def __init__(self, model: ExactModel) -> None:
        self._model = model
        self._tokens: list[int] = []
        self._before = [[0.0] * model.dim for _ in model.embedding.after]
        self._caches: list[Cache] = [([], []) for _ in model.layers]

    def read(self, token: int) -> list[int]:
        """The frequencies, V whole numbers of 1 or more that sum to 2^24, after one more token."""
        return frequencies(self._model.logits(self.stream(token)))

    def stream(self, token: int) -> Vector:
        """h after one more token."""
        self._tokens.append(token)
        x = x0 = self._model.embedding(self._tokens, self._before)
        left: list[Vector] = []
        for i, (layer, cache) in enumerate(zip(self._model.layers, self._caches, strict=True)):
            source = self._model.source(i)
            if source is not None:
                x = plus(x, left[source], self._model.skips[i - self._model.half])
            x = layer(x, x0, cache)
            left.append(x)
        return floating(x)


def frequencies(logits: list[int]) -> list[int]:
    """f_i = 1 + extra_i."""
    top, table = max(logits), exp_table(36)
    e = [table[top - logit] if top - logit < len(table) else 0 for logit in logits]
    share = (TOTAL - len(e)) / float(sum(e))
    extra = [math.floor(value * share) for value in e]
    extra[logits.index(top)] += TOTAL - len(e) - sum(extra)
    return [1 + value for value in extra]
