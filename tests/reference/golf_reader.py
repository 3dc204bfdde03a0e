"""A reader of .golf files in plain Python, written from docs/format.md: no numpy, nothing of bytegolf.

`read` checks a file and gives its parts, `decode_tensor` the numbers of a tensor; tokenizer_reader.py does the
tokenizer. Anything that the page tells a reader to refuse raises GolfError. Slow, and meant to be read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from reference.range_decoder import RangeDecoder

MAGIC = bytes.fromhex("89 47 4F 4C 46 0D 0A 1A")
RANGES = {
    "int8": (-127, 127),
    "int8_clip": (-127, 127),
    "int8_clip_floor": (-127, 127),
    "int6": (-32, 31),
    "int6_clip_floor": (-32, 31),
    "int5": (-16, 15),
    "int5_clip_floor": (-16, 15),
    "ecsq": (-16383, 16383),
}
TOKENIZERS = {"bpe", "case_bpe", "bytes", "sentencepiece"}
MOST_ELEMENTS = 1 << 28


class GolfError(ValueError):
    """A file, or a part of one, that must be refused. The message begins with the part."""


@dataclass(frozen=True)
class TensorRow:
    """One tensor's row of the header, and its blob."""

    name: str
    role: str
    codec: str
    shape: tuple[int, ...]
    blob: bytes


@dataclass(frozen=True)
class GolfFile:
    """The parts of a file whose checksums fit."""

    config: dict[str, Any]
    tokenizer_kind: str
    vocab_size: int
    tokenizer: bytes
    tensors: tuple[TensorRow, ...]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """integers: q in row-major order, or the bits of the halves (fp16). factors: one a row, none for fp16."""

    integers: list[int]
    factors: list[float]
    values: list[float]


def f32(x: float) -> float:
    """x rounded to binary32, ties to even."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def need(condition: object, what: str) -> None:
    if not condition:
        raise GolfError(what)


# The file


def read(data: bytes) -> GolfFile:
    """The parts of the file `data`, checked in the order of the page."""
    need(data[:8] == MAGIC, "magic")
    need(len(data) >= 50, "length")
    version, size, checksum = struct.unpack_from("<HII", data, 8)
    need(version == 1, "version")
    need(size <= 1 << 24 and 18 + size <= len(data) - 32, "length")
    at = 18 + size
    need(zlib.crc32(data[:14] + data[18:at]) == checksum, "header: checksum")
    header = read_header(data[18:at])
    tokenizer, rows = header["tokenizer"], header["tensors"]
    need(at + tokenizer["bytes"] + sum(row[4] for row in rows) + 32 == len(data), "length")
    blob, at = data[at : at + tokenizer["bytes"]], at + tokenizer["bytes"]
    need(f"{zlib.crc32(blob):08x}" == tokenizer["crc32"], "the tokenizer")
    need(hashlib.sha256(blob).hexdigest() == tokenizer["sha256"], "the tokenizer")
    tensors = []
    for name, role, codec, shape, nbytes, crc32 in rows:
        part, at = data[at : at + nbytes], at + nbytes
        need(f"{zlib.crc32(part):08x}" == crc32, f"tensor {name}")
        tensors.append(TensorRow(name, role, codec, tuple(shape), part))
    need(hashlib.sha256(data[:-32]).digest() == data[-32:], "trailing checksum")
    kind, vocab_size = tokenizer["kind"], tokenizer["vocab_size"]
    return GolfFile(header["config"], kind, vocab_size, blob, tuple(tensors), header["provenance"])


def read_header(data: bytes) -> dict[str, Any]:
    """The header, every rule of its section checked."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        header: dict[str, Any] = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise GolfError("header: JSON") from error
    need(isinstance(header, dict), "header: object")
    need(set(header) == {"config", "tokenizer", "tensors", "provenance"}, "header: keys")
    need(isinstance(header["config"], dict) and isinstance(header["provenance"], dict), "header: objects")
    need(isinstance(header["tensors"], list), "header: tensors")
    for row in header["tensors"]:
        check_tensor(row)
    names = [row[0] for row in header["tensors"]]
    need(len(names) == len(set(names)), "header: names")
    elements = sum(math.prod(max(size, 1) for size in row[3]) for row in header["tensors"])
    need(elements <= MOST_ELEMENTS, "header: elements")
    tokenizer = header["tokenizer"]
    need(isinstance(tokenizer, dict), "header: tokenizer")
    need(set(tokenizer) == {"kind", "vocab_size", "bytes", "crc32", "sha256"}, "header: tokenizer keys")
    need(isinstance(tokenizer["kind"], str) and tokenizer["kind"] in TOKENIZERS, "header: tokenizer kind")
    need(whole(tokenizer["vocab_size"], 1) and whole(tokenizer["bytes"], 0), "header: tokenizer numbers")
    need(digits(tokenizer["crc32"], 8) and digits(tokenizer["sha256"], 64), "header: tokenizer checksums")
    return header


def check_tensor(row: Any) -> None:
    need(isinstance(row, list) and len(row) == 6, "header: tensor")
    name, role, codec, shape, nbytes, crc32 = row
    need(isinstance(name, str) and name and isinstance(role, str) and role, "header: name and role")
    need(isinstance(codec, str) and codec in {*RANGES, "fp16"}, "header: codec")
    need(isinstance(shape, list) and len(shape) <= 8, "header: shape")
    need(all(whole(size, 0, MOST_ELEMENTS) for size in shape), "header: shape")
    need(whole(nbytes, 0) and digits(crc32, 8), "header: nbytes and crc32")


def whole(value: Any, least: int, most: int = 2**63 - 1) -> bool:
    return type(value) is int and least <= value <= most


def digits(value: object, count: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{count}}}", value) is not None


# Numbers and symbol streams


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at byte `at`, and where it ends."""
    value = 0
    for place in range(5):
        need(at < len(data), "a number does not end")
        byte, at = data[at], at + 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at
    raise GolfError("a number does not end")


def read_section(data: bytes, at: int) -> tuple[bytes, bytes]:
    """The section at byte `at`, and what follows it."""
    size, at = read_varint(data, at)
    need(size <= len(data) - at, "a section is too long")
    return data[at : at + size], data[at + size :]


def read_symbols(data: bytes, n: int, lo: int, hi: int) -> list[int]:
    """A symbol stream of n symbols."""
    if n == 0:
        need(not data, "bytes follow an empty stream")
        return []
    need(data, "an empty stream")
    total_log2, order = data[0] >> 4, data[0] & 15
    if total_log2 == 0:
        need(order == 0 and hi > lo, "unknown table")
        return read_words(data[1:], n, [f32(1 / (hi - lo + 1))] * (hi - lo + 1), lo)
    first, at = read_varint(data, 1)
    span, at = read_varint(data, at)
    need(lo + first + span <= hi, "symbols outside their range")
    if span == 0:
        need(at == len(data), "bytes follow a constant stream")
        return [lo + first] * n
    counts, at = read_table(data, at, span + 1, order, 1 << total_log2)
    return read_words(data[at:], n, [count / (1 << total_log2) for count in counts], lo + first)


def read_table(data: bytes, at: int, size: int, order: int, total: int) -> tuple[list[int], int]:
    """`size` counts that sum to `total`, from byte `at`; and the byte after them."""
    place, end = 8 * at, 8 * len(data)

    def bit() -> int:
        nonlocal place
        need(place < end, "a table does not end")
        place += 1
        return data[(place - 1) // 8] >> (-place % 8) & 1

    counts, count = [], 0
    for _ in range(size):
        zeros = 0
        while not bit():
            zeros += 1
            need(zeros <= 16, "a table does not end")
        code = 1
        for _ in range(zeros + order):
            code = code << 1 | bit()
        folded = code - (1 << order)
        count += -(folded + 1) // 2 if folded % 2 else folded // 2
        need(0 <= count <= total, "a count outside its range")
        counts.append(count)
    need(sum(counts) == total, "counts that do not sum to their total")
    return counts, -(-place // 8)


def boundaries(weights: list[float]) -> list[int]:
    """B_0 .. B_N from binary32 weights, in binary32."""
    total = 0.0
    for weight in weights:
        total = f32(total + weight)
    factor, run, found = f32((2**24 - len(weights)) / total), 0.0, []
    for index, weight in enumerate(weights):
        found.append(math.floor(f32(run * factor)) + index)
        run = f32(run + weight)
    return [*found, 2**24]


def read_words(data: bytes, n: int, weights: list[float], first: int) -> list[int]:
    need(len(data) % 4 == 0, "broken words")
    decoder, cumulative = RangeDecoder(data), boundaries(weights)
    try:
        symbols = [first + decoder.decode(cumulative) for _ in range(n)]
    except ValueError as error:
        raise GolfError("words that no encoder wrote") from error
    need(decoder.is_spent(), "words that are left over")
    return symbols


def read_halves(data: bytes, n: int) -> list[int]:
    """n words of 16 bits."""
    need(data[:1] in (b"\0", b"\1"), "unknown words")
    if data[0] == 0:
        need(len(data) == 1 + 2 * n, "another number of words")
        return list(struct.unpack(f"<{n}H", data[1:]))
    upper, lower = read_section(data, 1)
    pairs = zip(read_symbols(upper, n, 0, 255), read_symbols(lower, n, 0, 255), strict=True)
    return [high << 8 | low for high, low in pairs]


def half(bits: int) -> float:
    """The value of a half. Refuses infinities and NaN."""
    exponent, mantissa = bits >> 10 & 31, bits & 1023
    need(exponent < 31, "a half that is not finite")
    size = math.ldexp(1 + mantissa / 1024, exponent - 15) if exponent else math.ldexp(mantissa / 1024, -14)
    return math.copysign(size, -1 if bits >> 15 else 1)


# Tensors


def decode_tensor(row: TensorRow) -> Tensor:
    """Integers, factors and values of a tensor."""
    if row.codec == "fp16":
        words = read_halves(row.blob, math.prod(row.shape))
        bits = [word >> 1 | (word & 1) << 15 for word in words]
        return Tensor(bits, [], [half(word) for word in bits])
    lo, hi = RANGES[row.codec]
    rows, columns = row.shape[0] if len(row.shape) > 1 else 1, math.prod(row.shape[len(row.shape) > 1 :])
    need(row.blob, "no exponent")
    exponent = int.from_bytes(row.blob[:1], "little", signed=True)
    section, stream = read_section(row.blob, 1)
    halves = read_halves(section, rows)
    need(-100 <= exponent <= 112 and all(bits < 1 << 15 for bits in halves), "factors")
    factors = [f32(math.ldexp(half(bits), exponent)) for bits in halves]
    integers = read_symbols(stream, rows * columns, lo, hi)
    values = [f32(factors[place // columns] * q) for place, q in enumerate(integers)]
    need(all(map(math.isfinite, values)), "weights that are not finite")
    return Tensor(integers, factors, values)
