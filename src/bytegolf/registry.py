"""Names of variants -> where their code lives. Lazy: a lookup imports one module, listing imports none.

A variant is one line here and one file per floor that needs it. The line `"gqa": "gqa:Gqa"` under the slot
`attention` says: the file is `gqa.py`, the class is `Gqa`, in every package that `HOMES` lists for the slot.
"""

from __future__ import annotations

import importlib
from typing import Any

from bytegolf.errors import ConfigError, did_you_mean

# slot -> side -> the package that holds one file per variant. `spec` is floor 1, the twins are floor 2.
HOMES: dict[str, dict[str, str]] = {
    "mixer": {
        "spec": "bytegolf.model.components",
        "torch": "bytegolf.on_torch.mixers",
        "mlx": "bytegolf.on_mlx.mixers",
        "numpy": "bytegolf.on_numpy.mixers",
        "exact": "bytegolf.on_numpy.exact.mixers",
    },
    "attention": {
        "spec": "bytegolf.model.components",
        "torch": "bytegolf.on_torch.attention",
        "mlx": "bytegolf.on_mlx.attention",
        "numpy": "bytegolf.on_numpy.attention",
        "exact": "bytegolf.on_numpy.exact.attention",
    },
    "mlp": {
        "spec": "bytegolf.model.components",
        "torch": "bytegolf.on_torch.mlp",
        "mlx": "bytegolf.on_mlx.mlp",
        "numpy": "bytegolf.on_numpy.mlp",
        "exact": "bytegolf.on_numpy.exact.mlp",
    },
    "plan": {"spec": "bytegolf.model.components"},
    "head": {
        "spec": "bytegolf.model.components",
        "torch": "bytegolf.on_torch.head",
        "mlx": "bytegolf.on_mlx.head",
        "numpy": "bytegolf.on_numpy.head",
        "exact": "bytegolf.on_numpy.exact.head",
    },
    "codec": {"spec": "bytegolf.codec"},
    "backend": {"spec": "bytegolf"},
    "world": {"spec": "bytegolf"},
    "adaptation": {
        "torch": "bytegolf.on_torch.adapt",
        "mlx": "bytegolf.on_mlx.adapt",
        "score": "bytegolf.score.adapted",
    },
    "corpus": {"spec": "bytegolf.data"},
    "order": {"spec": "bytegolf.data"},
    "tokenizer": {"spec": "bytegolf.data"},
    "baseline": {"spec": "bytegolf.score"},
    "tracker": {"spec": "bytegolf.train.trackers"},
}

VARIANTS: dict[str, dict[str, str]] = {
    "mixer": {
        "smear_lerp": "smear_lerp:SmearLerp",
        "smear_keep": "smear_keep:SmearKeep",
        "bigram_hash": "bigram_hash:BigramHash",
        "bigram_hash_prime": "bigram_hash_prime:BigramHashPrime",
        "ngram_recall": "ngram_recall:NgramRecall",
    },
    "attention": {"gqa": "gqa:Gqa", "mla": "mla:Mla"},
    "mlp": {"relu2": "relu2:Relu2", "relu2_glu": "relu2_glu:Relu2Glu"},
    "plan": {"unet": "unet:Unet", "plain": "plain:Plain"},
    "head": {"tied": "tied:Tied", "untied": "untied:Untied"},
    "codec": {
        "fp16": "fp16:Fp16",
        "int8": "int_rows:Int8",
        "int6": "int_rows:Int6",
        "int5": "int_rows:Int5",
        "ecsq": "ecsq:Ecsq",
        "int8_clip": "int_rows:Int8Clip",
        "int8_clip_floor": "int_rows:Int8ClipFloor",
        "int6_clip_floor": "int_rows:Int6ClipFloor",
        "int5_clip_floor": "int_rows:Int5ClipFloor",
    },
    "backend": {"torch": "on_torch.backend:TorchBackend", "mlx": "on_mlx.backend:MlxBackend"},
    "world": {"torch": "on_torch.dist:join", "mlx": "on_mlx.backend:join"},
    "adaptation": {"sgd": "full:Sgd", "adamw": "full:AdamW", "lora": "lora:LowRank"},
    "corpus": {"stdlib": "corpora:stdlib", "stdlib-docs": "corpora:stdlib_docs"},
    "order": {
        "shuffled": "loader:Shuffled",
        "strided": "loader:Strided",
        "published": "loader:Published",
    },
    "tokenizer": {
        "bpe": "tokenizer:BpeTokenizer",
        "case_bpe": "case_bpe:CaseBpeTokenizer",
        "bytes": "tokenizer:ByteTokenizer",
        "sentencepiece": "sentencepiece:SentencePieceTokenizer",
    },
    "baseline": {
        "xz -9e": "baselines:xz",
        "bz2 -9": "baselines:bz2",
        "zstd -22": "baselines:zstd",
        "zstd -22 + dictionary": "baselines:zstd_dictionary",
        "ppmd": "baselines:ppmd",
        "brotli -11": "baselines:brotli",
    },
    "tracker": {
        "tensorboard": "tensorboard:Tensorboard",
        "trackio": "trackio:Trackio",
        "wandb": "wandb:Wandb",
    },
}


def names(slot: str) -> list[str]:
    """The registered names of a slot, in registry order. Imports nothing."""
    return list(VARIANTS[slot])


def lookup(slot: str, name: str, side: str = "spec", where: object = None) -> Any:
    """The object registered as `name` in `slot`, on one side (`spec`, `torch`, `numpy`, `exact`).

    Raises ConfigError, with the closest names, when the name is unknown, and when the side has no twin of it.
    """
    if name not in VARIANTS[slot]:
        raise ConfigError(f"unknown {slot} {name!r}", where=where, fix=did_you_mean(name, VARIANTS[slot]))
    file, attribute = VARIANTS[slot][name].split(":")
    home = HOMES[slot].get(side)
    if home is None:
        raise ConfigError(f"the slot {slot} has no side {side!r}", fix=did_you_mean(side, HOMES[slot]))
    path = f"{home}.{file}"
    try:
        return getattr(importlib.import_module(path), attribute)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise ConfigError(f"{slot} {name!r} has no {side} twin yet", where=where) from error
