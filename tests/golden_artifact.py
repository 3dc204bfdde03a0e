"""The artifact whose bytes must never change; the readers of the format are held to it too."""

from __future__ import annotations

import numpy as np

from bytegolf.artifact.format import Artifact, StoredTokenizer
from bytegolf.artifact.pack import pack
from bytegolf.data.tokenizer import ByteTokenizer
from bytegolf.model.spec import manifest
from model_samples import system

CODECS = {"embed": "int8", "table": "int5", "matrix": "int6", "gate": "fp16", "scalar": "fp16"}


def golden_artifact() -> Artifact:
    """A model of two layers whose weights are small multiples of 1/64."""
    tensors = manifest(system(layers=2, dim=16, hidden=8, buckets=6)).tensors
    weights = {
        t.name: ((np.arange(t.size, dtype=np.int64) * 37 + i * 11) % 101 - 50)
        .astype(np.float32)
        .reshape(t.shape)
        / 64
        for i, t in enumerate(tensors)
    }
    roles = {t.name: t.role for t in tensors}
    tokenizer = StoredTokenizer("bytes", 257, ByteTokenizer().to_bytes())
    return pack(weights, roles, CODECS, {"name": "golden"}, tokenizer, {"steps": 3})
