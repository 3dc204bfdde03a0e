"""A program: the digest of everything that the exact arithmetic says about the models in a folder.

    python exact_hash.py FOLDER EXECUTOR [THREADS]        EXECUTOR: numpy, cpu (torch), cuda (torch)

Every machine, every executor and every setting of the libraries below must print the same line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bytegolf.artifact.format import from_bytes, load_bytes, write
from bytegolf.config.schema import Model
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.exact.engine import Exact
from exact_samples import digest, outputs, packed

LANES, TOKENS = 3, 260
CUTS = (1, 2, 130, 258)
SLOTS = {"plan": {"kind": "unet"}, "context": 64}
MODELS = {
    "wide": {  # products large enough for every kernel, and for threads
        "vocab_size": 512,
        "dim": 256,
        "layers": 2,
        "embed": {
            "mixers": [{"kind": "bigram_hash", "buckets": 300, "table_dim": 32}, {"kind": "ngram_recall"}]
        },
        "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2},
        "mlp": {"kind": "relu2", "hidden": 640},
        "head": {"kind": "tied", "softcap": 30.0},
    },
    "odd": {  # sizes that no kernel likes
        "vocab_size": 77,
        "dim": 30,
        "layers": 3,
        "embed": {
            "mixers": [
                {"kind": "bigram_hash_prime", "buckets": 61, "table_dim": 7},
                {"kind": "smear_keep", "stop_at_bos": False},
                {"kind": "smear_lerp"},
            ]
        },
        "attention": {"kind": "mla", "heads": 3, "kv_heads": 1, "kv_rank": 5, "window": 7, "rope_dims": 4},
        "mlp": {"kind": "relu2_glu", "hidden": 45},
        "head": {"kind": "untied", "softcap": 15.0},
    },
}
CODECS = {
    "embed": "int8",
    "table": "int5",
    "matrix": "int6",
    "head": "ecsq",
    "gate": "fp16",
    "scalar": "fp16",
}


def scattered(count: int, seed: int) -> np.ndarray:
    """Whole numbers in [-2048, 2048) without a pattern, by arithmetic that is the same everywhere."""
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed * 7919)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (x >> np.uint64(52)).astype(np.int64) - 2048


def weights_of(model: Model) -> dict[str, np.ndarray]:
    """Multiples of a power of two: no machine rounds them differently."""
    weights = {}
    for i, t in enumerate(manifest(model).tensors):
        noise = scattered(t.size, i).reshape(t.shape) / 2048.0
        around = t.init.value if t.init.kind == "constant" else float(t.init.kind == "ones")
        weights[t.name] = (
            around + noise / 8 if t.role in ("gate", "scalar") else noise / (1 if t.role == "head" else 4)
        )
    return weights


def ids_of(model: Model) -> np.ndarray:
    """Rows with a few BOS, which say their first half twice."""
    ids = scattered(LANES * TOKENS, 99).reshape(LANES, TOKENS) % (model.vocab_size + 9)
    ids = np.where(ids >= model.vocab_size, model.bos_id, ids)
    ids[:, TOKENS // 2 :] = ids[:, : TOKENS // 2]
    return ids


def write_models(folder: Path) -> None:
    for name, options in MODELS.items():
        model = Model.model_validate(options | SLOTS)
        write(folder / f"{name}.golf", packed(model, weights_of(model), CODECS))


def answer(folder: Path, ops: object = None) -> str:
    """The digest of all logits and frequencies."""
    arrays: list[np.ndarray] = []
    for path in sorted(folder.glob("*.golf")):
        artifact = from_bytes(load_bytes(path))
        model = Model.model_validate(artifact.config["model"])
        arrays += outputs(Exact(model, artifact.tensors, ops), ids_of(model), CUTS)
    return digest(arrays)


def main(folder: str, executor: str, threads: str = "1") -> None:
    if executor == "numpy":
        print(answer(Path(folder)))
        return
    import torch

    from bytegolf.on_torch.exact_ops import TorchOps

    torch.set_num_threads(int(threads))
    print(answer(Path(folder), TorchOps(executor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
