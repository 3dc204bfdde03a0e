"""A dataset, a config and a run that are small enough to train in a fraction of a second."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bytegolf.config.load import load_config
from bytegolf.config.schema import Config
from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset

BASE = str(Path(__file__).with_name("base.toml"))
OVERRIDES = (
    "name=tiny",
    "model.vocab_size=257",
    "model.dim=16",
    "model.layers=2",
    "model.context=16",
    "model.embed.mixers=[{kind='bigram_hash', buckets=32, table_dim=4}, {kind='smear_lerp'}]",
    "model.attention={kind='gqa', heads=2, kv_heads=1}",
    "model.mlp.hidden=24",
    "train.steps=4",
    "train.rows=3",
    "train.precision=fp32",
    "score={context=16, stride=4}",
)


def tiny_config(*overrides: str) -> Config:
    return load_config(BASE, [*OVERRIDES, *overrides])


def tiny_dataset(folder: Path) -> Dataset:
    """Forty documents of hexadecimal text, tokenized by bytes: 257 entries."""
    documents = [
        Document(f"d{i}", f"g{i}", hashlib.shake_256(str(i).encode()).hexdigest(40).encode())
        for i in range(40)
    ]
    return build_dataset(Corpus("tiny", documents, "made for a test"), folder, 257, tokenizer_kind="bytes")
