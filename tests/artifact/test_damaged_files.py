"""Damaged .golf files, thousands of them: each is an error of the user's, or a model, and nothing in between."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf.artifact.format import PRELUDE, StoredTokenizer, to_bytes
from bytegolf.artifact.pack import pack
from bytegolf.config.load import to_tree
from bytegolf.data.tokenizer import ByteTokenizer
from bytegolf.errors import UserError
from bytegolf.model.spec import manifest
from bytegolf.model_file import model_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import tiny_config

ALTERED, FORGED, MEASURED = 3_000, 600, 60
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**70,
    0.5,
    "",
    "x" * 1000,
    [],
    {},
    [[]],
    {"kind": "gqa"},
    "\ud800",
]


@pytest.fixture(scope="module")
def golf() -> bytes:
    """A model of two layers as `pack` writes it."""
    config = tiny_config()
    rng = np.random.default_rng(0)
    tensors = manifest(config.model).tensors
    weights = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in tensors}
    codecs = {str(role): codec for role, codec in config.pack.codecs.items()}
    tokenizer = StoredTokenizer("bytes", 257, ByteTokenizer().to_bytes())
    roles = manifest(config.model).roles()
    return to_bytes(pack(weights, roles, codecs, to_tree(config), tokenizer, {"steps": 1}))


def opened(data: bytes) -> bool:
    """Whether it is a model. Any exception but a UserError gets through."""
    try:
        model_of(data, "x.golf").artifact.weights()
    except UserError:
        return False
    return True


def altered(golf: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut out, repeated or put in, checksums left as they were."""
    data = bytearray(golf)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at, size = chance.randrange(len(data) + 1), chance.choice([1, 1, 4, 100])
        match chance.randrange(4):
            case 0:
                data[at : at + size] = chance.randbytes(len(data[at : at + size]))
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = chance.randbytes(size)
            case _:
                data[at:at] = data[chance.randrange(len(data) + 1) :][:size]
    return bytes(data)


def signed(header: bytes, body: bytes) -> bytes:
    """A file whose outer checksums fit."""
    start = PRELUDE.pack(b"\x89GOLF\r\n\x1a", 1, len(header), 0)[:14]
    data = start + zlib.crc32(start + header).to_bytes(4, "little") + header + body
    return data + hashlib.sha256(data).digest()


def forged(golf: bytes, chance: random.Random) -> bytes:
    """Values of the header, or bytes of a blob, replaced by odd ones; every checksum computed anew."""
    length = PRELUDE.unpack_from(golf)[2]
    end = PRELUDE.size + length
    fields = json.loads(golf[PRELUDE.size : end])
    body = bytearray(golf[end:-32])
    if chance.random() < 0.3:
        at, row = fields["tokenizer"]["bytes"], chance.randrange(len(fields["tensors"]))
        at += sum(tensor[4] for tensor in fields["tensors"][:row])
        size = fields["tensors"][row][4]
        for _ in range(chance.choice([1, 3, 30])):
            body[at + chance.randrange(size)] = chance.randrange(256)
        fields["tensors"][row][5] = f"{zlib.crc32(body[at : at + size]):08x}"
    else:
        replaced(fields, chance)
    return signed(json.dumps(fields, separators=(",", ":")).encode(), bytes(body))


def replaced(tree: Any, chance: random.Random) -> None:
    """Some value anywhere below becomes an odd one, goes, or gets a neighbour."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = chance.choice(keys)
        if isinstance(tree[key], dict | list) and tree[key] and chance.random() < 0.8:
            tree = tree[key]
            continue
        match chance.randrange(4):
            case 0 if isinstance(tree, dict):
                del tree[key]
            case 1 if isinstance(tree, dict):
                tree["unknown"] = chance.choice(ODD)
            case 2 if isinstance(tree[key], int):
                tree[key] += chance.choice([-1, 1, 7, 1 << 20])
            case _:
                tree[key] = chance.choice(ODD)
        return


@pytest.mark.parametrize(("alter", "count"), [(altered, ALTERED), (forged, FORGED)])
def test_thousands_of_damaged_models(
    golf: bytes, alter: Callable[[bytes, random.Random], bytes], count: int
) -> None:
    chance, accepted = random.Random(alter.__name__), 0
    for _ in range(count):
        data = alter(golf, chance)
        accepted += data != golf and opened(data)
    assert accepted == 0 if alter is altered else accepted < 0.7 * count


@pytest.mark.parametrize("alter", [altered, forged])
def test_no_damage_takes_much_memory(golf: bytes, alter: Callable[[bytes, random.Random], bytes]) -> None:
    assert opened(golf)
    chance = random.Random(1)
    tracemalloc.start()
    try:
        for _ in range(MEASURED):
            opened(alter(golf, chance))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
