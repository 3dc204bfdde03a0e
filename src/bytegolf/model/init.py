"""Initial weights from (manifest, seed), in numpy, so that every backend starts from the same bits."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from bytegolf.model.spec import Manifest, Tensor


def initial_weights(manifest: Manifest, seed: int) -> dict[str, NDArray[np.float32]]:
    """name -> float32 array. Each tensor has a stream of its own, keyed by (seed, name): adding a tensor
    to a model leaves the others as they were.
    """
    return {tensor.name: _draw(tensor, seed) for tensor in manifest.tensors}


def _draw(tensor: Tensor, seed: int) -> NDArray[np.float32]:
    kind, value = tensor.init.kind, tensor.init.value
    if kind == "zeros":
        return np.zeros(tensor.shape, np.float32)
    if kind == "constant":
        return np.full(tensor.shape, value, np.float32)
    digest = hashlib.sha256(f"{seed}/{tensor.name}".encode()).digest()
    stream = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little")))
    if kind == "normal":
        return stream.standard_normal(tensor.shape, np.float32) * np.float32(value)
    if kind == "uniform_fan_in":
        bound = 1.0 / math.sqrt(tensor.shape[-1])
        return stream.uniform(-bound, bound, tensor.shape).astype(np.float32)
    assert kind == "orthogonal", kind
    rows, cols = tensor.shape
    square = stream.standard_normal((max(rows, cols), min(rows, cols)))
    q, r = np.linalg.qr(square)
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    return (value * (q if rows >= cols else q.T)).astype(np.float32)
