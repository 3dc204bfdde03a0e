"""The pages say all there is to know: a decoder in plain Python, written from them, agrees to the bit.

docs/exact.md: the frequencies of every component under every codec. docs/format_golfz.md: real files, and where
bytegolf refuses a damaged one the reference does.
"""

from __future__ import annotations

import functools
import io
import random
import re
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exact_models import KINDS, PROSE, model_file, tokenizer_of
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_samples import Parts

from bytegolf import registry
from bytegolf.artifact.format import StoredTensor, to_bytes
from bytegolf.coding import workers
from bytegolf.coding.container import Reader, _header_crc
from bytegolf.coding.model_recipe import ModelRecipe
from bytegolf.coding.stream import Work, compress, compress_documents, decompress
from bytegolf.coding.workers import StreamCoder
from bytegolf.config.schema import ROLES, Model
from bytegolf.errors import ArtifactError, UserError
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.exact.engine import Exact
from exact_samples import outputs, packed, trained_like, unpacked
from model_samples import REGISTERED, SLOTS_354, SLOTS_489, generic_weights, miniature, models, random_ids
from reference import golfz_reader
from reference.exact_model import ExactModel, Row, model_of
from reference.exact_sums import Weights, weights_of
from reference.golf_reader import GolfError, read
from reference.golfz_reader import GolfzError, crc16, decode, read_blocks, read_header
from reference.tokenizer_reader import decode_tokenizer

REFERENCE = Path(golfz_reader.__file__).parent
PAGE = (REFERENCE.parents[1] / "docs" / "format_golfz.md").read_text(encoding="utf-8")
CODECS = registry.names("codec")
MIXED = dict(zip(ROLES, ("int8", "ecsq", "int6", "int5", "fp16", "ecsq"), strict=True))


@pytest.fixture(autouse=True)
def _no_thread_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking every loaded library for its threads takes longer than all else here."""
    monkeypatch.setattr(workers, "threadpool_limits", lambda _: nullcontext())


# Frequencies


def agree(model: Model, stored: Sequence[StoredTensor], tensors: dict[str, Weights], ids: np.ndarray) -> bool:
    """Whether both take the model; then they have the same frequencies after every token of the row `ids`."""
    config = model.model_dump(mode="json")
    try:
        engine = Exact(model, stored)
    except ArtifactError:
        with pytest.raises(GolfError):
            ExactModel(config, tensors)
        return False
    exact = ExactModel(config, tensors)
    row = Row(exact)
    found = [row.read(token) for token in ids.tolist()]
    third = len(ids) // 3  # read at once, the others one at a time
    assert np.array_equal(np.array(found), 1 + outputs(engine, ids[None], range(third, len(ids)))[1][0])
    return True


def agree_on(
    model: Model, weights: dict[str, np.ndarray], codec: str | dict[str, str], ids: np.ndarray
) -> bool:
    """As `agree`, the codes taken from the codecs themselves."""
    stored = unpacked(model, weights, codec)
    whole = {tensor.name: tensor.integers() for tensor in stored}
    tensors = {name: Weights(one.codes.tolist(), one.scales.tolist()) for name, one in whole.items()}
    return agree(model, stored, tensors, ids)


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=4)
@given(data=st.data())
def test_every_component_has_the_same_frequencies(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    seed = data.draw(st.integers(0, 99))
    weights = data.draw(st.sampled_from([generic_weights, trained_like]))(model, seed)
    codec = data.draw(st.sampled_from([*CODECS, MIXED]))
    assert agree_on(model, weights, codec, random_ids(model, 2, 24, seed)[1])


@pytest.mark.parametrize("codec", CODECS)
def test_a_published_system_out_of_its_file(codec: str) -> None:
    """The codes and scales that the reference finds in the blobs."""
    model, weights = miniature((), SLOTS_354 if codec.startswith("int") else SLOTS_489)
    artifact = packed(model, weights, codec)
    tensors = {stored.name: weights_of(stored) for stored in read(to_bytes(artifact)).tensors}
    assert agree(model, artifact.tensors, tensors, random_ids(model, 2, 16)[1])


@settings(max_examples=30)
@given(models(), st.integers(0, 99), st.data())
def test_weights_of_any_size(model: Model, seed: int, data: st.DataObject) -> None:
    """Some tensors times a power of two: clamps are reached, grids are coarse, and what has none is refused."""
    names = [tensor.name for tensor in manifest(model).tensors]
    sizes = st.sampled_from([-30, -4, 2, 3, 4, 6, 8, 12, 60])
    drawn = data.draw(st.dictionaries(st.sampled_from(names), sizes, max_size=9))
    weights = {name: np.ldexp(array, drawn.get(name, 0)) for name, array in trained_like(model, seed).items()}
    agree_on(model, weights, "int8", random_ids(model, 2, 12, seed)[1])


def test_positions_far_into_a_row() -> None:
    """Beyond the 256 fine angles."""
    model, weights = miniature((), {"attention": {"kind": "gqa", "heads": 2, "kv_heads": 1, "window": 9}})
    assert agree_on(model, weights, "int6", random_ids(model, 2, 300)[1])


# Files


@functools.cache
def golf_of(kind: str) -> bytes:
    return to_bytes(model_file(kind).artifact)


@functools.cache
def liked(kind: str, length: int = 40) -> bytes:
    """Text that the model of this kind finds likely: each token one of its three best of small letters."""
    rng, tokenizer = random.Random(1), tokenizer_of(kind)
    row, ids = Row(model_of(read(golf_of(kind)))), [0]
    pieces = decode_tokenizer(tokenizer.to_bytes()).pieces
    plain = [i for i, piece in enumerate(pieces) if re.fullmatch(rb"[ -@a-z]+", piece)]
    for _ in range(length):
        frequencies = row.read(ids[-1])
        ids.append(rng.choice(sorted(plain, key=frequencies.__getitem__)[-3:]))
    return tokenizer.decode(ids)


def written(
    text: bytes | list[bytes],
    kind: str,
    shape: tuple[int, int] = (16, 4),
    embed: bool = False,
    **options: int,
) -> bytes:
    """The .golfz file of a text, or of documents."""
    sink, recipe = io.BytesIO(), Kept(golf_of(kind), *shape, "model")
    model = golf_of(kind) if embed else None
    if isinstance(text, bytes):
        compress(io.BytesIO(text), sink, recipe, embed=model, **options)
    else:
        compress_documents(text, sink, recipe, embed=model, **options)
    return sink.getvalue()


def coded_blocks(stream: bytes) -> list[bool]:
    """Whether a block has a payload of tokens, for each block."""
    return [not block.stored for block in read_blocks(stream, read_header(stream))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(300, 300), (16, 4), (7, 6)])
def test_files_decode_to_their_text(kind: str, shape: tuple[int, int]) -> None:
    """One block that windows move through, and several, one of them stored."""
    text = liked(kind)
    stream = written(text, kind, shape)
    assert coded_blocks(stream) == [True]
    assert decode(stream, golf_of(kind)) == text
    size = len(text) // 2
    noise = random.Random(0).randbytes(size)
    stream = written(text[:size] + noise + text[size:], kind, shape, block=size)
    assert {True, False} == set(coded_blocks(stream)[:3])
    assert decode(stream, golf_of(kind)) == text[:size] + noise + text[size:]


@pytest.mark.parametrize("kind", KINDS)
def test_documents_that_begin_inside_a_block_are_coded_with_their_BOS(kind: str) -> None:  # noqa: N802
    text, doubtful = liked(kind), b"Ab\x0e CD\x0f\x10e \xff"
    documents = [text, text[:9], b"", doubtful, text]
    stream = written(documents, kind, block=2 * len(text))
    assert any(coded_blocks(stream))
    assert decode(stream, golf_of(kind)) == b"".join(documents)


def test_odd_texts_and_the_model_inside() -> None:
    golf = golf_of("bpe")
    for text in (b"", b"x", bytes(range(256)), PROSE[:60], "größer 漢字".encode()):
        assert decode(written(text, "bpe"), golf) == text
        assert decode(written(text, "bpe", embed=True)) == text
    with pytest.raises(GolfzError, match="the model: none"):
        decode(written(b"x", "bpe"))
    with pytest.raises(GolfzError, match="the model: another"):
        decode(written(b"x", "bpe"), golf_of("bytes"))


# Damage


@functools.cache
def coder_of(recipe: ModelRecipe) -> StreamCoder:
    return recipe.build()


class Kept(ModelRecipe):
    """Builds its coder once."""

    def build(self) -> StreamCoder:
        return coder_of(ModelRecipe(self.golf, self.context, self.stride, self.where))


def outcome(stream: bytes, golf: bytes) -> bytes | None:
    """What bytegolf makes of a file; None when it is refused."""
    sink = io.BytesIO()
    try:
        reader = Reader(io.BytesIO(stream))
        recipe = Kept(golf, reader.header.context, reader.header.stride, "model")
        decompress(reader, sink, recipe, work=Work(2))
    except UserError:
        return None
    return sink.getvalue()


def both_say_the_same(stream: bytes, kind: str = "bpe") -> bool:
    """Whether both take the file; then they find the same text."""
    expected = outcome(stream, golf_of(kind))
    if expected is None:
        with pytest.raises(GolfzError):
            decode(stream, golf_of(kind))
        return False
    assert decode(stream, golf_of(kind)) == expected
    return True


@functools.cache
def sample() -> bytes:
    """Three blocks: coded, stored, coded and shorter."""
    text = liked("bpe")
    stream = written(text[:12] + b"\xff\xfe" * 6 + text[12:20], "bpe", (4, 3), block=12)
    assert coded_blocks(stream) == [True, False, True]
    return stream


def test_the_sample_itself() -> None:
    assert both_say_the_same(sample())


@settings(max_examples=90)
@given(st.data())
def test_of_any_damage_both_say_the_same(data: st.DataObject) -> None:
    """Bytes altered, left out, put in; the header's checksum sometimes made to fit."""
    stream = bytearray(sample())
    header = read_header(sample()).end
    at = data.draw(st.integers(0, len(stream) - 1) | st.integers(0, header + 8))
    change = data.draw(st.sampled_from(["alter", "alter", "alter", "drop", "insert", "cut", "append"]))
    if change == "alter":
        stream[at] ^= data.draw(st.integers(1, 255))
    elif change == "drop":
        del stream[at]
    elif change == "insert":
        stream.insert(at, data.draw(st.integers(0, 255)))
    elif change == "cut":
        del stream[at:]
    else:
        stream.append(data.draw(st.sampled_from([0, 1, 255])))
    if at < header and data.draw(st.booleans()) and len(stream) > header:
        stream[header - 2 : header] = _header_crc(bytes(stream[: header - 2]))
    both_say_the_same(bytes(stream))


@settings(max_examples=40)
@given(st.data())
def test_of_records_put_together_wrongly_both_say_the_same(data: st.DataObject) -> None:
    """Lengths, tokens, payloads and settings that are well-formed and not the file's; blocks that moved."""
    parts = Parts.of(sample())
    blocks, header = list(parts.blocks), parts.header
    at = data.draw(st.integers(0, 2))
    one = blocks[at]
    change = data.draw(st.sampled_from(["tokens", "payload", "size", "settings", "move", "crc32", "last"]))
    if change == "tokens":
        blocks[at] = replace(one, tokens=one.tokens + data.draw(st.integers(-2, 2)))
    elif change == "payload":
        payload = one.payload[: data.draw(st.integers(0, one.coded))] + bytes(data.draw(st.integers(0, 3)))
        blocks[at] = replace(one, payload=payload, coded=len(payload))
    elif change == "size":
        blocks[at] = replace(one, size=data.draw(st.integers(1, 12)))
    elif change == "settings":
        context = data.draw(st.sampled_from([1, 3, 4, 5, 1 << 24]))
        header = replace(header, context=context, stride=data.draw(st.sampled_from([1, 3, context])))
        header = replace(header, stride=min(header.stride, context))
    elif change == "move":
        blocks = [blocks[data.draw(st.integers(0, 2))] for _ in range(data.draw(st.integers(1, 4)))]
    elif change == "crc32":
        blocks[at] = replace(one, crc32=data.draw(st.integers(0, 2**32 - 1)))
    else:
        blocks[at] = replace(one, last=not one.last)
    both_say_the_same(Parts(header, blocks).joined())


def test_a_payload_need_not_end_where_its_tokens_do_but_must_hold_them() -> None:
    """Further bytes change nothing; missing ones are zeros, up to 96 bits."""
    parts = Parts.of(written(liked("bpe"), "bpe"))
    (block,) = parts.blocks
    for payload in (block.payload + b"\1\2", block.payload + bytes(9)):
        longer = replace(block, payload=payload, coded=len(payload))
        assert both_say_the_same(Parts(parts.header, [longer]).joined())
    # The payload of no bytes is that of the tokens whose share begins at 0: id 0, BOS, again and again.
    for tokens, refused in ((1, "bytes"), (60, "holds")):
        nothing = replace(block, size=24, tokens=tokens, payload=b"", coded=0, crc32=0)
        stream = Parts(parts.header, [nothing]).joined()
        assert outcome(stream, golf_of("bpe")) is None
        with pytest.raises(GolfzError, match=refused):
            decode(stream, golf_of("bpe"))


# The pages


def test_the_examples_of_the_page_are_read_as_it_says() -> None:
    examples = re.findall(r"^ {4}((?:[0-9A-F]{2} +)+)", PAGE, re.MULTILINE)
    empty = bytes.fromhex("".join(examples[:2]))
    header = read_header(empty)
    assert (header.model, header.coder) == (bytes(range(8)), b"abcd")
    assert (header.context, header.stride, header.block) == (8192, 1024, 131_072)
    (block,) = read_blocks(empty, header)
    assert (block.raw, block.stored, block.crc32) == (0, True, zlib.crc32(bytes(8)))
    start = bytes.fromhex("89477A 12 0001020304050607 61626364 8203 8203 25")
    texts = [b"a" * 96, b"bbb"]
    first = zlib.crc32(bytes(8) + texts[0])
    second = zlib.crc32((96).to_bytes(8, "little") + texts[1], first)
    records = [
        bytes.fromhex(found) for found in re.findall(r"^ {4}(0[45](?: +[0-9A-F]{2})+)  crc32", PAGE, re.M)
    ]
    data = start + crc16(start).to_bytes(2, "little")
    data += records[0] + first.to_bytes(4, "little") + b"p" * 16
    data += records[1] + second.to_bytes(4, "little") + b"q"
    header = read_header(data)
    assert (header.context, header.stride, header.block) == (100, 100, 96)
    blocks = read_blocks(data, header)
    assert [(b.offset, b.raw, b.tokens, b.payload) for b in blocks] == [
        (0, 96, 30, b"p" * 16),
        (96, 3, 2, b"q"),
    ]
    assert [b.crc32 for b in blocks] == [first, second]
    assert crc16(b"123456789") == 0x29B1
