"""A FineWeb export that fits in a test: a SentencePiece model, token shards and the manifest beside them."""

from __future__ import annotations

import functools
import inspect
import io
import json
import random
import string
import struct
import tempfile
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from bytegolf.data.shards import write_shard
from fakes.hub import FakeHub

REPO, BOS = "someone/golf", 1
TEXT = "".join(inspect.getsource(module) for module in (textwrap, string, json))
MODEL = "tokenizers/toy.model"


@functools.cache
def train_model(byte_fallback: bool = True, vocab: int = 500, **options: Any) -> bytes:
    """A model with the settings of the published one; that one has no byte pieces."""
    written = io.BytesIO()
    settings = {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"} | options
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n")),
        model_writer=written,
        vocab_size=vocab,
        byte_fallback=byte_fallback,
        split_digits=True,
        character_coverage=0.999,
        add_dummy_prefix=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **settings,
    )
    return written.getvalue()


@functools.cache
def library(byte_fallback: bool = True) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_proto=train_model(byte_fallback))


def normalised(text: str, byte_fallback: bool = True) -> str:
    return library(byte_fallback).normalize(text).replace("\u2581", " ")


@functools.cache
def documents(count: int, seed: int) -> list[str]:
    """Lines of made-up prose, no two alike."""
    stream = random.Random(seed)
    words = [w for w in TEXT.split() if w.isalpha()]
    return [" ".join(stream.choices(words, k=stream.randint(20, 120))) for _ in range(count)]


@functools.cache
def stream(count: int, seed: int, byte_fallback: bool = True) -> np.ndarray:
    model = library(byte_fallback)
    return np.array([i for text in documents(count, seed) for i in [BOS, *model.encode(text)]], np.uint16)


def shard_bytes(tokens: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "x.bin", tokens)
        return (Path(folder) / "x.bin").read_bytes()


def header(blob: bytes, *, magic: int = 20240520, version: int = 1, count: int = 0) -> bytes:
    """A shard with another header."""
    return struct.pack("<3i", magic, version, count) + blob[12:]


@functools.cache
def _export(byte_fallback: bool, prefix: str) -> dict[str, bytes]:
    train, val = stream(60, 1, byte_fallback), stream(30, 2, byte_fallback)
    cuts = [0, 1500, 3000, len(train)]  # in the middle of documents
    files = {
        f"{prefix}/datasets/fineweb10B_sp500/fineweb_train_{i:06d}.bin": shard_bytes(train[a:b])
        for i, (a, b) in enumerate(pairwise(cuts))
    }
    half = len(val) // 2
    for i, part in enumerate((val[:half], val[half:])):
        files[f"{prefix}/datasets/fineweb10B_sp500/fineweb_val_{i:06d}.bin"] = shard_bytes(part)
    model = library(byte_fallback)
    files[f"{prefix}/{MODEL}"] = train_model(byte_fallback)
    files[f"{prefix}/docs_selected.jsonl"] = b'{"text":"x"}\n'
    files[f"{prefix}/docs_selected.source_manifest.json"] = b"{}"
    row = {
        "name": "fineweb10B_sp500",
        "tokenizer_name": "toy",
        "tokenizer_kind": "sentencepiece_bpe",
        "path": "datasets/fineweb10B_sp500",
        "vocab_size": model.vocab_size(),
        "bos_id": BOS,
        "stats": {
            "files_train": 3,
            "files_val": 2,
            "tokens_train": len(train),
            "tokens_val": len(val),
            "docs_val": 30,
        },
        "recommended_bigram_vocab_size": 640,
    }
    tokenizers = [{"name": "toy", "model_path": MODEL, "vocab_path": "tokenizers/toy.vocab"}]
    manifest = {"version": "10B", "datasets": [row], "tokenizers": tokenizers}
    files[f"{prefix}/manifest.json"] = json.dumps(manifest).encode()
    return files


def toy_hub(byte_fallback: bool = True, prefix: str = "datasets") -> FakeHub:
    """A hub with the toy export in it, not serving yet."""
    files = {path.removeprefix("/"): data for path, data in _export(byte_fallback, prefix).items()}
    return FakeHub(REPO, files)


def change_manifest(hub: FakeHub, **changes: Any) -> None:
    """Alter keys of the only dataset row; those of `stats` too."""
    manifest = json.loads(hub.files["datasets/manifest.json"])
    row = manifest["datasets"][0]
    for key, value in changes.items():
        (row["stats"] if key in row["stats"] else row)[key] = value
    hub.files["datasets/manifest.json"] = json.dumps(manifest).encode()
