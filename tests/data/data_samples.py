"""Small texts that the data tests share, made here or taken from a handful of standard modules."""

from __future__ import annotations

import hashlib
import inspect
import json
import string
import textwrap

from bytegolf.data.corpora import Corpus, Document

REAL_TEXT = b"".join(inspect.getsource(m).encode() for m in (textwrap, string, json))  # about 45 kB


def prose(name: str, words: int = 400) -> bytes:
    """Words in an order that only `name` decides: no 50 bytes of it occur under another name."""
    seed = b"".join(hashlib.sha256(f"{name} {i}".encode()).digest() for i in range(words // 16 + 1))
    stems = [
        "held",
        "out",
        "train",
        "token",
        "byte",
        "golf",
        "model",
        "score",
        "pack",
        "loss",
        "data",
        "text",
    ]
    picked = [stems[seed[2 * i] % 12] + string.ascii_letters[seed[2 * i + 1] % 52] for i in range(words)]
    return " ".join(picked).encode() + b"\n"


def documents(groups: int = 36, per_group: int = 2) -> list[Document]:
    return [
        Document(f"g{g}/d{d}", f"g{g}", prose(f"{g}/{d}")) for g in range(groups) for d in range(per_group)
    ]


def corpus() -> Corpus:
    return Corpus("sample", documents(), "made for a test")
