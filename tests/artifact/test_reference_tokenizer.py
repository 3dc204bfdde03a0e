"""docs/format.md says how ids become bytes: a reader written from it finds what bytegolf finds."""

from __future__ import annotations

import functools
import inspect
import json
import textwrap
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.data import case_split
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.framing import frame
from bytegolf.data.sentencepiece import SentencePieceTokenizer
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer, from_bytes
from bytegolf.errors import DataError
from fakes.toy_fineweb import train_model
from reference.golf_reader import TOKENIZERS, GolfError
from reference.tokenizer_reader import decode_ids, decode_tokenizer, join_case, split_case

TEXT = inspect.getsource(textwrap).encode()
SINGLE = [bytes([value]) for value in range(256)]
PARTS = [
    b"HTTPServer",
    b"The",
    b"tHE",
    b"A",
    b"aB",
    b"\x0e",
    b"\x0f",
    b"\x10",
    b"\xff\xc3",
    "É".encode(),
    b" ",
    b"z",
]
TEXTS = st.lists(st.sampled_from(PARTS) | st.binary(max_size=6), max_size=8).map(b"".join)


@functools.cache
def kinds() -> list[Tokenizer]:
    found: list[Tokenizer] = [ByteTokenizer(), BpeTokenizer(SINGLE), CaseBpeTokenizer(BpeTokenizer(SINGLE))]
    found += [BpeTokenizer.learn([TEXT], 520), CaseBpeTokenizer.learn([TEXT], 520)]
    found += [SentencePieceTokenizer.from_model(train_model(pieces)) for pieces in (True, False)]
    found += [SentencePieceTokenizer.byte260()]
    assert {tokenizer.kind for tokenizer in found} == TOKENIZERS
    return found


@settings(max_examples=25)
@given(st.lists(TEXTS | st.sampled_from([TEXT[:300], TEXT[5000:5200]]), max_size=3))
def test_the_ids_of_documents_give_their_bytes(documents: list[bytes]) -> None:
    for tokenizer in kinds():
        found = decode_tokenizer(tokenizer.to_bytes())
        assert (found.kind, len(found.pieces)) == (tokenizer.kind, tokenizer.vocab_size)
        ids = [i for document in documents for i in (tokenizer.bos_id, *tokenizer.encode(document).tolist())]
        assert decode_ids(found, ids) == b"".join(documents)
        for i in range(1, tokenizer.vocab_size) if not tokenizer.transforms else ():
            assert found.pieces[i] in (tokenizer.decode([i]), b" " + tokenizer.decode([i]))


@given(st.data())
def test_of_any_ids_both_say_the_same(data: st.DataObject) -> None:
    tokenizer = data.draw(st.sampled_from(kinds()))
    rare = st.sampled_from([0, 0x0F, 0x10, 0x11, ord("a") + 1, ord("A") + 1, tokenizer.vocab_size])
    ids = data.draw(st.lists(rare | st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    found = decode_tokenizer(tokenizer.to_bytes())
    try:
        expected = tokenizer.decode(np.array(ids, dtype=np.int64))
    except DataError:
        with pytest.raises(GolfError):
            decode_ids(found, ids)
    else:
        assert decode_ids(found, ids) == expected


@given(
    TEXTS, st.lists(st.sampled_from([b"\x0e", b"\x0f", b"\x10", b"a", b"B", b"-"]), max_size=12).map(b"".join)
)
def test_capitals_are_split_and_joined_alike(text: bytes, any_bytes: bytes) -> None:
    assert split_case(text) == case_split.split_case(text)
    assert join_case(split_case(text)) == text
    assert join_case(any_bytes) == case_split.join_leniently(any_bytes)


@given(st.data())
def test_of_damaged_blobs_both_say_the_same(data: st.DataObject) -> None:
    """The checksum is made to fit, so that what stands behind it is looked at."""
    blob = bytearray(data.draw(st.sampled_from(kinds())).to_bytes()[:-4])
    for _ in range(data.draw(st.integers(0, 2))):
        at = blob.index(b"\n") + 1 + data.draw(st.integers(0, 40))
        if at < len(blob):
            blob[at] ^= 1 << data.draw(st.integers(0, 7))
    blob = blob[: len(blob) - data.draw(st.sampled_from([0, 0, 1]))] + bytes(data.draw(st.integers(0, 1)))
    agree(bytes(blob) + zlib.crc32(blob).to_bytes(4, "little"))


def agree(blob: bytes) -> None:
    try:
        expected = from_bytes(blob)
    except DataError:
        with pytest.raises(GolfError):
            decode_tokenizer(blob)
        return
    found = decode_tokenizer(blob)
    assert found.kind == expected.kind
    if isinstance(expected, SentencePieceTokenizer):
        before = next(i for i, size in enumerate(expected.token_bytes()) if size)
        size = len(expected.decode([before]))
        assert found.pieces == [expected.decode([before, i])[size:] for i in range(expected.vocab_size)]
        return
    inner = getattr(expected, "bpe", expected)
    assert found.pieces == [b"", *inner.pieces]


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "words"},
        {"kind": 1},
        {"kind": "bytes", "more": 1},
        {"kind": "bpe", "merges": 1, "pattern": "x"},
        {"kind": "bpe", "merges": 2},
        {"kind": "bpe", "merges": True, "pattern": "x"},
        {"kind": "bpe", "merges": 2.0, "pattern": "x"},
        {"kind": "bpe", "merges": -1, "pattern": "x"},
        {"kind": "bpe", "merges": 65_280, "pattern": "x"},
        {"kind": "bpe", "merges": 2, "pattern": 1},
        {"kind": "bpe", "merges": 2, "pattern": "é" * 1000},
        {"kind": "bpe", "merges": 2, "pattern": "x" * 1001},
        {"kind": "bpe", "merges": 2, "pattern": "x" * 9000},
        {"kind": "bpe", "merges": 2, "pattern": "x"},
        {"kind": "case_bpe", "merges": 2, "pattern": "x"},
        {"kind": "case_bpe"},
        {"kind": "sentencepiece"},
        {"kind": "sentencepiece", "types": 1},
        {"kind": "sentencepiece", "types": [1]},
        {"kind": "sentencepiece", "types": [["control", 3], ["unknown", 1]]},
        {"kind": "sentencepiece", "types": [["control", 3], ["unknown", 1], ["byte", 256], ["normal", 1]]},
        {"kind": "sentencepiece", "types": [["control", 3], ["unknown", 1], ["byte", 256.0]]},
        {"kind": "sentencepiece", "types": [["control", 3], ["unknown", 1], ["byte", 200], ["byte", 56]]},
        {"kind": "sentencepiece", "types": [["control", 70_000], ["unknown", 1], ["byte", 256]]},
        {"kind": "sentencepiece", "types": [["control", 3], ["unknown", 1], ["other", 256]]},
    ],
)
def test_of_heads_that_nobody_writes_both_say_the_same(head: dict[str, object]) -> None:
    """Two merges, a b and ab c: 34 bits."""
    bits = f"{ord('a'):08b}{ord('b'):08b}{256:09b}{ord('c'):09b}" + "0" * 6
    agree(frame(head, int(bits, 2).to_bytes(5)))


TYPES = [["control", 3], ["unknown", 1], ["byte", 256], ["normal", 2]]


@pytest.mark.parametrize("run", [TYPES[3], ["user_defined", 2], ["normal", 1], ["normal", 3], ["control", 2]])
@pytest.mark.parametrize(
    "payload",
    [
        b"\x01 \x01a",
        b"\x01a\x02 a",
        b"\x01 \x01 ",
        b"\x01 \x00",
        b"\x01 \x02a",
        b"\x01 \x01\xff",
        b"\x01 \x03\xe2\x96\x81",
        b"\x01 \x56" + b" " * 86,
        b"\x01 \x55" + b" " * 85,
        b"",
    ],
)
def test_of_pieces_that_nobody_writes_both_say_the_same(run: list[object], payload: bytes) -> None:
    agree(frame({"kind": "sentencepiece", "types": [*TYPES[:3], run]}, payload))


@pytest.mark.parametrize("count", [255, 256, 257])
@pytest.mark.parametrize("first", ["control", "unused"])
def test_without_byte_pieces_both_want_room_for_bytes(count: int, first: str) -> None:
    texts = [b" ", *(bytes([value]) for value in range(0x21, 0x7F))]
    texts += [chr(0xA1 + i).encode() for i in range(count - len(texts))]
    types = [[first, 1], ["control", 2], ["unknown", 1], ["normal", count]]
    payload = b"".join(bytes([len(text)]) + text for text in texts)
    agree(frame({"kind": "sentencepiece", "types": types}, payload))


@pytest.mark.parametrize(("left", "right"), [(256, 256), (257, 97), (97, 98), (256, 99)])
def test_merges_must_join_earlier_pieces_into_a_new_one(left: int, right: int) -> None:
    bits = f"{ord('a'):08b}{ord('b'):08b}{left:09b}{right:09b}" + "0" * 6
    agree(frame({"kind": "bpe", "merges": 2, "pattern": "x"}, int(bits, 2).to_bytes(5)))


def test_a_piece_may_have_128_bytes_and_no_more() -> None:
    pieces = [b"a" * 2**k for k in range(1, 8)]
    blob = BpeTokenizer([*SINGLE, *pieces]).to_bytes()
    assert decode_tokenizer(blob).pieces[-1] == b"a" * 128
    head = json.loads(blob[: blob.index(b"\n")])
    bits = "".join(f"{97 if k == 0 else 255 + k:0{(255 + k).bit_length()}b}" * 2 for k in range(8))
    bits += "0" * (-len(bits) % 8)
    agree(frame(head | {"merges": 8}, int(bits, 2).to_bytes(len(bits) // 8)))
