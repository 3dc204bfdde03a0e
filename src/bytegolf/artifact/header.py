"""The JSON header of a .golf file: written compactly, and read back with every value checked.

The header comes from a file that anyone may have made, so nothing in it is believed: types, ranges, names, the
codecs, and the number of elements that the shapes promise are all checked here, before anything is allocated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from bytegolf import registry
from bytegolf.errors import ArtifactError, did_you_mean

MAX_ELEMENTS = 1 << 28  # of all tensors together: 1 GiB as float32, six times the largest published model
_MAX_DIMENSIONS = 8
_KEYS = ("config", "tokenizer", "tensors", "provenance")
_HEX32, _HEX256 = re.compile(r"[0-9a-f]{8}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TokenizerRow:
    """The header's words on the tokenizer blob; checksums in hexadecimal."""

    kind: str
    vocab_size: int
    nbytes: int
    crc32: str
    sha256: str


@dataclass(frozen=True)
class TensorRow:
    """The header's words on one tensor blob."""

    name: str
    role: str
    codec: str
    shape: tuple[int, ...]
    nbytes: int
    crc32: str


@dataclass(frozen=True)
class Header:
    """A header that passed every check."""

    config: dict[str, Any]
    tokenizer: TokenizerRow
    tensors: tuple[TensorRow, ...]
    provenance: dict[str, Any]


def dump(
    config: Mapping[str, Any],
    tokenizer: TokenizerRow,
    tensors: Sequence[TensorRow],
    provenance: Mapping[str, Any],
) -> bytes:
    """The header as compact UTF-8 JSON. Raises ArtifactError for values that JSON cannot hold."""
    fields = {
        "config": dict(config),
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "bytes": tokenizer.nbytes,
            "crc32": tokenizer.crc32,
            "sha256": tokenizer.sha256,
        },
        "tensors": [[t.name, t.role, t.codec, list(t.shape), t.nbytes, t.crc32] for t in tensors],
        "provenance": dict(provenance),
    }
    try:
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError("config and provenance must be plain JSON data", got=error) from error


def parse(data: bytes) -> Header:
    """The header in `data`. Raises ArtifactError, naming the key, for the first value that breaks a rule."""
    try:
        fields = json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _wrong("it must be JSON", str(error)[:200]) from error
    if not isinstance(fields, dict) or set(fields) != set(_KEYS):
        got = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        raise _wrong(f"it must have the keys {', '.join(_KEYS)}", got)
    for key in ("config", "provenance"):
        if not isinstance(fields[key], dict):
            raise _wrong(f"{key} must be an object", type(fields[key]).__name__)
    if not isinstance(fields["tensors"], list):
        raise _wrong("tensors must be a list", type(fields["tensors"]).__name__)
    tensors = tuple(_tensor(row, index) for index, row in enumerate(fields["tensors"]))
    _check_together(tensors)
    return Header(fields["config"], _tokenizer(fields["tokenizer"]), tensors, fields["provenance"])


def _tokenizer(row: object) -> TokenizerRow:
    keys = {"kind", "vocab_size", "bytes", "crc32", "sha256"}
    if not isinstance(row, dict) or set(row) != keys:
        raise _wrong(f"tokenizer must have the keys {', '.join(sorted(keys))}", repr(row)[:200])
    where = "tokenizer"
    if row["kind"] not in registry.names("tokenizer"):
        hint = did_you_mean(str(row["kind"]), registry.names("tokenizer"))
        raise _wrong(f"{where} kind must be a registered one", repr(row["kind"]), fix=hint)
    return TokenizerRow(
        kind=row["kind"],
        vocab_size=_number(row["vocab_size"], f"{where} vocab_size", 1),
        nbytes=_number(row["bytes"], f"{where} bytes", 0),
        crc32=_hex(row["crc32"], f"{where} crc32", _HEX32),
        sha256=_hex(row["sha256"], f"{where} sha256", _HEX256),
    )


def _tensor(row: object, index: int) -> TensorRow:
    if not isinstance(row, list) or len(row) != 6:
        raise _wrong(f"tensor {index} must be [name, role, codec, shape, nbytes, crc32]", repr(row)[:200])
    name, role, codec, shape, nbytes, crc32 = row
    if not isinstance(name, str) or not name:
        raise _wrong(f"the name of tensor {index} must be a string", repr(name)[:200])
    where = f"tensor {name}"
    if not isinstance(role, str) or not role:
        raise _wrong(f"{where}: its role must be a string", repr(role)[:200])
    if codec not in registry.names("codec"):
        hint = did_you_mean(str(codec), registry.names("codec"))
        raise _wrong(f"{where}: its codec must be a registered one", repr(codec)[:200], fix=hint)
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise _wrong(f"{where}: its shape must be a list of at most {_MAX_DIMENSIONS}", repr(shape)[:200])
    sizes = tuple(_number(size, f"{where}: each size of its shape", 0, MAX_ELEMENTS) for size in shape)
    length = _number(nbytes, f"{where}: its nbytes", 0)
    return TensorRow(name, role, codec, sizes, length, _hex(crc32, f"{where}: its crc32", _HEX32))


def _check_together(tensors: Sequence[TensorRow]) -> None:
    seen: set[str] = set()
    elements = 0
    for tensor in tensors:
        if tensor.name in seen:
            raise _wrong("the names of tensors must differ", f"{tensor.name!r} twice")
        seen.add(tensor.name)
        # A dimension of 0 must not hide the others: rows of nothing still have a scale each.
        elements += math.prod(max(size, 1) for size in tensor.shape)
        if elements > MAX_ELEMENTS:
            raise _wrong(f"its tensors must have at most {MAX_ELEMENTS:,} elements", f"{elements:,}")


def _number(value: object, what: str, least: int, most: int = (1 << 63) - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(f"{what} must be a whole number from {least} to {most}", repr(value)[:200])
    return value


def _hex(value: object, what: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(f"{what} must be lower-case hexadecimal", repr(value)[:200])
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _wrong(rule: str, got: object, fix: str | None = None) -> ArtifactError:
    return ArtifactError(f"header: {rule}", got=got, fix=fix)
