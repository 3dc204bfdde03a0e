"""docs/format.md says what is in a .golf file: a reader written from it finds what bytegolf finds, bit for bit.

The reader (tests/reference) is plain Python. Where bytegolf refuses bytes it refuses them too, and where both take
damaged bytes they agree on what is in them.
"""

from __future__ import annotations

import ast
import hashlib
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.artifact.format import (
    Artifact,
    StoredTensor,
    StoredTokenizer,
    encode_header,
    from_bytes,
    to_bytes,
)
from bytegolf.codec import base
from bytegolf.codec.ecsq import Ecsq, row_rms
from bytegolf.codec.entropy import encode_symbols
from bytegolf.errors import ArtifactError
from golden_artifact import golden_artifact
from reference import golf_reader
from reference.golf_reader import GolfError, TensorRow, decode_tensor, read, read_symbols
from reference.range_decoder import RangeDecoder
from reference.tokenizer_reader import decode_tokenizer

REFERENCE = Path(golf_reader.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
NAMES = registry.names("codec")
VALUES = "2c6b7c4599b5bf00cecb0c8414482272ea55e9e5bf7dd0426e04f897cae7ddac"
SHAPES = st.sampled_from(
    [
        (),
        (0,),
        (1,),
        (7,),
        (3, 0),
        (0, 3),
        (0, 0),
        (1, 1),
        (5, 4),
        (4, 90),
        (3, 2, 2),
        (2, 0, 3),
        (1, 1, 1, 3),
    ]
)


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    """Rows of drawn sizes, some zero; or one value repeated; or few values."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=shape).astype(np.float32)
    kind = draw(st.sampled_from(["rows", "constant", "zeros", "coarse"]))
    if kind == "constant":
        values = np.full(shape, draw(st.floats(-60000, 60000, width=32)), dtype=np.float32)
    elif kind == "zeros":
        values = np.zeros(shape, dtype=np.float32)
    elif kind == "coarse":
        values = np.rint(values).astype(np.float32)
    if len(shape) > 1 and values.size:
        powers = rng.integers(*draw(st.sampled_from([(0, 1), (-20, 1), (-3, 3)])), shape[0], endpoint=True)
        alive = rng.random(shape[0]) > 0.2
        values = values * (np.ldexp(np.float32(1), powers) * alive).reshape(-1, *[1] * (len(shape) - 1))
    return np.clip(values, -65504, 65504).astype(np.float32)


def same(found: list[float], array: np.ndarray) -> bool:
    """The bits of binary32 too: -0.0 is another number than 0.0."""
    return struct.pack(f"<{len(found)}f", *found) == array.astype("<f4").tobytes()


def agree(codec: str, blob: bytes, shape: tuple[int, ...]) -> bool:
    """Whether both take the blob; then the values are the same bits."""
    row = TensorRow("x", "matrix", codec, shape, blob)
    try:
        expected = base.get(codec).decode(blob, shape)
    except ArtifactError:
        with pytest.raises(GolfError):
            decode_tensor(row)
        return False
    found = decode_tensor(row)
    assert same(found.values, expected)
    if codec != "fp16":
        stored = base.get(codec).integers(blob, shape)
        assert found.integers == stored.codes.ravel().tolist()
        assert found.factors == stored.scales.tolist()
    return True


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(weights=tensors())
def test_every_codec_gives_the_same_values_bit_for_bit(name: str, weights: np.ndarray) -> None:
    assert agree(name, base.get(name).encode(weights), weights.shape)


@settings(max_examples=30)
@given(tensors(), st.integers(-100, 110), st.integers(-6, 14))
def test_integers_and_factors_are_those_of_the_codec(weights: np.ndarray, shift: int, fineness: int) -> None:
    """At any size of weights, and at steps from coarse to 2^-14 of a row: tables from 2 to thousands of counts."""
    weights = np.ldexp(weights / np.float32(65504), shift)
    codec = Ecsq()
    blob = codec.encode_at(weights, np.ldexp(row_rms(weights), -fineness))
    lattice = codec.decode_lattice(blob, weights.shape)
    found = decode_tensor(TensorRow("x", "matrix", "ecsq", weights.shape, blob))
    assert found.integers == lattice.multiples.ravel().tolist()
    assert same(found.factors, lattice.steps.values)
    assert same(found.values, lattice.dequantize())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(weights=tensors(), data=st.data())
def test_of_damaged_blobs_and_other_shapes_both_say_the_same(
    name: str, weights: np.ndarray, data: st.DataObject
) -> None:
    blob = bytearray(base.get(name).encode(weights))
    for _ in range(data.draw(st.integers(1, 2))):
        blob[data.draw(st.integers(0, min(len(blob), 12) - 1))] ^= data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([0, 0, 1, 4, 5]))
    damaged = bytes(blob[: len(blob) - end]) + bytes(data.draw(st.sampled_from([0, 0, 0, 1, 4, 8])))
    agree(name, damaged, data.draw(st.one_of(st.just(weights.shape), SHAPES)))


@pytest.mark.parametrize("exponent", [-101, -100, 0, 112, 113])
@pytest.mark.parametrize("bits", [0x0000, 0x0001, 0x03FF, 0x7BFF, 0x7C00, 0x7E00, 0x8000, 0xBC00])
def test_of_factors_that_nobody_writes_both_say_the_same(exponent: int, bits: int) -> None:
    """Signs, infinities, exponents out of range; the negative zero of 0 times -1; infinity times 0 is refused."""
    half = b"\0" + bits.to_bytes(2, "little")
    for numbers in ([0, 0], [0, -1], [15, -16]):
        stream = encode_symbols(np.array(numbers), -32, 31)
        agree("int6", exponent.to_bytes(1, "little", signed=True) + bytes([len(half)]) + half + stream, (2,))
    agree("int6", exponent.to_bytes(1, "little", signed=True) + bytes([len(half)]) + half, (1, 0))


@st.composite
def artifacts(draw: st.DrawFn) -> Artifact:
    """Tensors of every shape under every codec, an odd config, a tokenizer of any bytes."""
    stored = []
    names = st.text('ab.é\u2028\U0001f600"\\\n', min_size=1, max_size=4)
    for name in draw(st.lists(names, unique=True, max_size=4)):
        weights, codec = draw(tensors()), draw(st.sampled_from(NAMES))
        stored.append(StoredTensor(name, "matrix", codec, weights.shape, base.get(codec).encode(weights)))
    kind = draw(st.sampled_from(registry.names("tokenizer")))
    tokenizer = StoredTokenizer(kind, draw(st.integers(1, 70_000)), draw(st.binary(max_size=20)))
    texts = st.dictionaries(names, names | st.floats(-9, 9), max_size=3)
    return Artifact(draw(texts), tokenizer, tuple(stored), draw(texts))


@settings(max_examples=20)
@given(artifacts())
def test_a_file_has_the_same_parts(artifact: Artifact) -> None:
    found = read(to_bytes(artifact))
    assert (found.config, found.provenance) == (artifact.config, artifact.provenance)
    stored = artifact.tokenizer
    assert (found.tokenizer_kind, found.vocab_size, found.tokenizer) == (
        stored.kind,
        stored.vocab_size,
        stored.blob,
    )
    assert [vars(row) for row in found.tensors] == [vars(tensor) for tensor in artifact.tensors]
    for row, array in zip(found.tensors, artifact.weights().values(), strict=True):
        assert same(decode_tensor(row).values, array)


def test_the_golden_file_holds_what_it_held() -> None:
    artifact = golden_artifact()
    found = read(to_bytes(artifact))
    digest = hashlib.sha256()
    for row, array in zip(found.tensors, artifact.weights().values(), strict=True):
        tensor = decode_tensor(row)
        assert same(tensor.values, array)
        digest.update(repr((row.name, row.shape, tensor.integers, tensor.factors)).encode())
    assert decode_tokenizer(found.tokenizer).pieces == [b"", *(bytes([value]) for value in range(256))]
    assert digest.hexdigest() == VALUES


def test_every_altered_byte_and_every_other_length_is_refused() -> None:
    data = to_bytes(small())
    assert read(data)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(GolfError):
            read(bytes(damaged))
        with pytest.raises(GolfError):
            read(data[:position])
    with pytest.raises(GolfError, match="length"):
        read(data + b"\0")


def small() -> Artifact:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((), dtype=np.float32)}
    stored = [StoredTensor(k, "gate", "int6", w.shape, base.get("int6").encode(w)) for k, w in arrays.items()]
    return Artifact({"x": 0.5}, StoredTokenizer("bytes", 257, b"tokenizer"), tuple(stored), {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"config":', '"configs":'),
        ('"config":{', '"more":1,"config":{'),
        ('"config":{"x":0.5}', '"config":[0.5]'),
        ('"provenance":{}', '"provenance":null'),
        ("0.5", "NaN"),
        ("0.5", "-Infinity"),
        ("0.5", '"\\ud800"'),
        ("0.5", '"' + "é" * 9 + '"'),
        ("0.5", '"\t"'),
        ('{"config"', ' {\n"config"'),
        ('{"config"', '\ufeff{"config"'),
        ("[2,3]", "[3,2]"),
        ("[2,3]", "[6]"),
        ("[2,3]", "[2,3.0]"),
        ("[2,3]", "[true,3]"),
        ("[2,3]", "[2,-3]"),
        ("[2,3]", '"23"'),
        ("[2,3]", "[1,1,1,1,1,1,2,3]"),
        ("[2,3]", "[1,1,1,1,1,1,1,2,3]"),
        ("[2,3]", "[0,268435456]"),
        ("[2,3]", "[0,268435455]"),
        ("[2,3]", "[268435457]"),
        ('["a",', '["b",'),
        ('["a",', '["",'),
        ('["a",', "[1,"),
        ('"gate"', '""'),
        ('"int6"', '"int7"'),
        ('"int6"', "6"),
        ('"int6"', '["int6"]'),
        ('"int6"', '"int6_clip_floor"'),
        ('"kind":"bytes"', '"kind":"bpe"'),
        ('"kind":"bytes"', '"kind":"words"'),
        ('"kind":"bytes"', '"kind":[]'),
        ('"vocab_size":257', '"vocab_size":0'),
        ('"vocab_size":257', '"vocab_size":9223372036854775807'),
        ('"vocab_size":257', '"vocab_size":9223372036854775808'),
        ('"vocab_size":257', '"vocab_size":257.0'),
        ('"vocab_size":257', '"vocab_size":257,"more":1'),
        ('"bytes":9,', '"bytes":10,'),
        ('"bytes":9,', '"bytes":-9,'),
        ('"crc32":"', '"crc32":"0'),
        ('"sha256":"', '"sha256":"A'),
        ('"tensors":[[', '"tensors":[7,['),
        ('"tensors":[[', '"tensors":[[],['),
        ('"tensors":[[', '"tensors":[[7,'),
        ("", ""),
    ],
)
def test_of_a_header_with_fitting_checksums_both_say_the_same(old: str, new: str) -> None:
    artifact = small()
    header = encode_header(artifact).decode()
    assert old in header
    header = header.replace(old, new, 1).encode()
    start = struct.pack("<8sHI", golf_reader.MAGIC, 1, len(header))
    body = artifact.tokenizer.blob + b"".join(tensor.blob for tensor in artifact.tensors)
    data = start + zlib.crc32(start + header).to_bytes(4, "little") + header + body
    data += hashlib.sha256(data).digest()
    try:
        expected = from_bytes(data)
    except ArtifactError:
        with pytest.raises(GolfError):
            read(data)
        return
    found = read(data)
    assert (found.config, found.vocab_size) == (expected.config, expected.tokenizer.vocab_size)
    assert [(t.name, t.codec, t.shape) for t in found.tensors] == [
        (t.name, t.codec, t.shape) for t in expected.tensors
    ]


def test_the_page_names_every_codec_and_every_tokenizer_there_is() -> None:
    rows = re.findall(r"^\| (`.*`) \| ?(-?\d*) \| ?(\d*) \|$", PAGE, re.MULTILINE)
    on_page = {name: (lo, hi) for names, lo, hi in rows for name in re.findall("`(.*?)`", names)}
    assert set(on_page) == set(NAMES)
    known = {name: (str(lo), str(hi)) for name, (lo, hi) in golf_reader.RANGES.items()}
    assert on_page == known | {"fp16": ("", "")}
    assert set(re.findall(r"^\*\*`(\w+)`\*\*: head", PAGE, re.MULTILINE)) == golf_reader.TOKENIZERS
    assert set(registry.names("tokenizer")) == golf_reader.TOKENIZERS


def test_the_example_of_the_page_is_read_as_it_says() -> None:
    stream, symbols = re.findall(r"n = 16: `([0-9a-f ]+)`.*?The symbols are ([-\d ]+)\.", PAGE, re.DOTALL)[0]
    expected = [int(symbol) for symbol in symbols.split()]
    assert read_symbols(bytes.fromhex(stream), 16, -32, 31) == expected
    words = re.findall(r"in the file `([0-9a-f ]+)`", PAGE)[0]
    decoder = RangeDecoder(bytes.fromhex(words))
    shares = [[0, 1, 2**24], [0, 2**24 - 2, 2**24 - 1, 2**24], [0, 4, 7, 9, 2**24]]
    assert [decoder.decode(bounds) for bounds in shares] == [0, 2, 1]


def test_the_readers_import_the_standard_library_and_each_other() -> None:
    allowed = {
        "__future__",
        "bisect",
        "collections.abc",
        "dataclasses",
        "hashlib",
        "itertools",
        "json",
        "math",
    }
    allowed |= {"decimal", "functools", "operator", "re", "struct", "typing", "zlib"}
    for path in REFERENCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.module in allowed or str(node.module).startswith("reference.")
