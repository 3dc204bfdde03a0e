"""What the tests of the exact arithmetic share: packed models, and ways to read a row in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bytegolf.artifact.format import Artifact, StoredTensor, StoredTokenizer
from bytegolf.artifact.pack import pack
from bytegolf.codec import base
from bytegolf.codec.base import Integers
from bytegolf.codec.ecsq import Ecsq, row_rms
from bytegolf.codec.int_rows import IntRows
from bytegolf.config.schema import ROLES, Model
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.exact.engine import Exact, State

NO_TOKENIZER = StoredTokenizer("bytes", 257, b"")


def packed(model: Model, weights: dict[str, np.ndarray], codec: str | dict[str, str] = "int8") -> Artifact:
    """The weights under one codec, or under a codec a role."""
    codecs = dict.fromkeys(ROLES, codec) if isinstance(codec, str) else codec
    arrays = {t.name: weights[t.name].astype(np.float32) for t in manifest(model).tensors}
    config = {"model": model.model_dump(mode="json")}
    return pack(arrays, manifest(model).roles(), codecs, config, NO_TOKENIZER, {})


def trained_like(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the sizes that training gives: matrices at 1 / sqrt(fan in), gains around 1, small residuals."""
    rng = np.random.default_rng(seed)
    weights = {}
    for t in manifest(model).tensors:
        noise = rng.standard_normal(t.shape)
        if t.role in ("scalar", "gate"):
            start = t.init.value if t.init.kind == "constant" else float(t.init.kind == "ones")
            weights[t.name] = start + 0.1 * noise
        elif t.role == "matrix":
            weights[t.name] = noise / np.sqrt(t.shape[-1])
        else:
            weights[t.name] = 0.3 * noise
    return weights


def read_all(engine: Exact, ids_LT: np.ndarray, cuts: Sequence[int] = ()) -> tuple[State, np.ndarray]:
    """(state, stream (L, T, D)) of rows read in the pieces between the cuts."""
    state = engine.start(len(ids_LT))
    borders = [0, *cuts, ids_LT.shape[1]]
    parts = [engine.numpy(engine.read(state, ids_LT[:, a:b])) for a, b in pairwise(borders) if b > a]
    return state, np.concatenate(parts, axis=1)


def outputs(engine: Exact, ids_LT: np.ndarray, cuts: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """(logits, extras), each (L, T, V), taken piece by piece."""
    state = engine.start(len(ids_LT))
    logits, extras = [], []
    for a, b in pairwise([0, *cuts, ids_LT.shape[1]]):
        if b > a:
            x = engine.read(state, ids_LT[:, a:b])
            logits.append(engine.numpy(engine.logits(x)))
            extras.append(engine.numpy(engine.extras(x)))
    return np.concatenate(logits, axis=1), np.concatenate(extras, axis=1)


def digest(arrays: Sequence[np.ndarray]) -> str:
    """sha256 over whole numbers, as little-endian int64."""
    found = hashlib.sha256()
    for array in arrays:
        assert (array == np.rint(array)).all()
        found.update(np.ascontiguousarray(array).astype("<i8").tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Unpacked(StoredTensor):
    """A stored tensor whose whole numbers never were a blob: the same numbers, sooner."""

    whole: Integers = field(kw_only=True)

    def integers(self) -> Integers:
        return self.whole


def unpacked(model: Model, weights: dict[str, np.ndarray], codec: str | dict[str, str]) -> list[StoredTensor]:
    """The tensors of `packed`, quicker."""
    codecs = dict.fromkeys(ROLES, codec) if isinstance(codec, str) else codec
    tensors: list[StoredTensor] = []
    for t in manifest(model).tensors:
        kind, array = base.get(codecs[t.role]), weights[t.name].astype(np.float32)
        if isinstance(kind, IntRows):
            codes = kind.quantize(array)
            whole = Integers(codes.codes.astype(np.int64), codes.scales.astype(np.float64))
        elif isinstance(kind, Ecsq):
            lattice = kind.quantize_at(array, row_rms(array) / 8)
            whole = Integers(lattice.multiples.astype(np.int64), lattice.steps.values.astype(np.float64))
        else:
            bits = array.astype(np.float16).view(np.uint16)
            words = bits << np.uint16(1) | bits >> np.uint16(15)
            raw = b"\0" + words.astype("<u2").tobytes()  # the blob of fp16 without an entropy coder
            whole = kind.integers(raw, t.shape)
        tensors.append(Unpacked(t.name, t.role, codecs[t.role], t.shape, b"", whole=whole))
    return tensors
