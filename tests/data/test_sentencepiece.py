"""SentencePiece vocabularies: the byte rule of the challenge decoded, the library's ids, and any bytes back."""

from __future__ import annotations

import contextlib
import functools
import io
from typing import Any

import numpy as np
import pytest
from data_samples import REAL_TEXT
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from bytegolf.data.model_proto import Piece, read_pieces, write_model
from bytegolf.data.piece_bytes import BLANK, PieceBytes
from bytegolf.data.sentencepiece import SentencePieceTokenizer
from bytegolf.data.tokenizer import from_bytes
from bytegolf.errors import DataError
from fakes.toy_fineweb import TEXT, documents, library, normalised, stream, train_model

HEAD: list[Piece] = [("", "control"), ("", "control"), ("", "control"), ("", "unknown")]
BYTES: list[Piece] = [("", "byte")] * 256
ODD = ["\x00", BLANK, " ", "  ", "\n", "\ufffd", "\ufeff", "é", "<s>", "<0x41>", "The cat", " sat", "x" * 9]
PLAIN = st.lists(st.sampled_from(ODD) | st.text(max_size=6), max_size=8).map("".join)


@functools.cache
def toy(byte_fallback: bool) -> SentencePieceTokenizer:
    return SentencePieceTokenizer.from_model(train_model(byte_fallback))


def both() -> list[SentencePieceTokenizer]:
    return [toy(True), toy(False)]


@given(st.data())
def test_counted_bytes_are_decoded_bytes_for_any_ids(data: st.DataObject) -> None:
    """From the beginning, token by token, and behind any first token."""
    tokenizer = data.draw(st.sampled_from([*both(), SentencePieceTokenizer.byte260()]))
    few = st.sampled_from([0, 1, 2, 3, 4, 5, 259])
    ids = np.array(
        data.draw(st.lists(few | st.integers(0, tokenizer.vocab_size - 1), max_size=30)), np.uint16
    )
    counts = tokenizer.byte_counts(ids)
    assert counts.sum() == len(tokenizer.decode(ids))
    decoder = tokenizer.decoder()
    parts = [decoder.decode([i]) for i in ids]
    assert [len(part) for part in parts] == counts.tolist()
    assert b"".join(parts) == tokenizer.decode(ids)
    assert tokenizer.bytes_behind(ids).tolist() == counts[1:].tolist()


@given(st.data())
def test_counts_are_those_of_the_published_rule(data: st.DataObject) -> None:
    """Of all streams without padding, which no published shard holds."""
    tokenizer = data.draw(st.sampled_from(both()))
    rule = PieceBytes.from_pieces(read_pieces(train_model(not tokenizer.escapes)))
    ids = [1, *data.draw(st.lists(st.integers(1, tokenizer.vocab_size - 1), max_size=30))]
    assert tokenizer.byte_counts(np.array(ids, np.uint16))[1:].tolist() == rule.per_target(ids).tolist()


@given(PLAIN)
def test_decoding_is_the_librarys_on_what_it_encoded(text: str) -> None:
    """With byte pieces. The library writes U+FFFD for bytes that are no UTF-8, which it never encodes to."""
    ids = library().encode(text)
    assert toy(True).decode(ids) == normalised(text).encode()
    assert toy(True).decode(ids).decode() == library().decode(ids)


@given(PLAIN)
def test_the_ids_of_a_normalised_text_are_the_librarys(text: str) -> None:
    text = normalised(text)
    assert toy(True).encode(text.encode()).tolist() == library().encode(text)


@given(PLAIN)
def test_without_byte_pieces_too_where_every_character_is_a_piece(text: str) -> None:
    known = {piece for piece, kind in toy(False).pieces if kind == "normal" and len(piece) == 1}
    kept = "".join(c for c in normalised(text, False) if c in known or c == " ")
    text = normalised(kept, False)
    assert toy(False).encode(text.encode()).tolist() == library(False).encode(text)


def test_prose_has_the_librarys_ids_and_stays_together() -> None:
    for byte_fallback in (True, False):
        tokenizer = toy(byte_fallback)
        for text in [normalised(TEXT, byte_fallback), *documents(20, 5)]:
            ids = tokenizer.encode(text.encode())
            if byte_fallback or 3 not in library(False).encode(text):
                assert ids.tolist() == library(byte_fallback).encode(text)
            assert len(ids) < len(text)
    assert toy(True).decode(stream(20, 5)) == "".join(documents(20, 5)).encode()


@given(st.lists(st.sampled_from(ODD).map(str.encode) | st.binary(max_size=6), max_size=8).map(b"".join))
def test_any_bytes_come_back(data: bytes) -> None:
    for tokenizer in both():
        ids = tokenizer.encode(data)
        assert tokenizer.decode(ids) == data
        assert not {1, 2, 3} & set(ids.tolist())
        assert tokenizer.decode([1, *ids, 1, *ids]) == data + data


def test_every_byte_comes_back() -> None:
    for tokenizer in both():
        assert tokenizer.decode(tokenizer.encode(bytes(range(256)))) == bytes(range(256))


def test_what_pieces_cannot_write_is_written_as_bytes() -> None:
    with_bytes, without = toy(True), toy(False)
    for text in (b" ", b"\xff", b"\n"):
        assert with_bytes.encode(text).tolist() == [4 + text[0]]
        assert without.encode(text).tolist() == [0, 4 + text[0]]
    assert with_bytes.encode(BLANK.encode()).tolist() == [4 + byte for byte in BLANK.encode()]


def test_the_byte_export_counts_from_four() -> None:
    tokenizer = SentencePieceTokenizer.byte260()
    assert tokenizer.encode(b"\x00 \xff").tolist() == [4, 36, 259]
    assert (tokenizer.vocab_size, tokenizer.bos_id) == (260, 1)


def test_a_serialised_tokenizer_has_these_bytes_and_is_small() -> None:
    pieces = [
        *HEAD,
        *BYTES,
        (BLANK, "normal"),
        (f"{BLANK}é", "user_defined"),
        ("x", "unused"),
        ("b", "normal"),
    ]
    types = (
        '[["control",3],["unknown",1],["byte",256],["normal",1],["user_defined",1],["unused",1],["normal",1]]'
    )
    blob = SentencePieceTokenizer(pieces).to_bytes()
    assert blob[:-4] == b'{"kind":"sentencepiece","types":%b}\n' % types.encode() + b"\x01 \x03 \xc3\xa9\x01b"
    for tokenizer in both():
        again = from_bytes(tokenizer.to_bytes())
        assert again.sha256 == tokenizer.sha256
        assert again.encode(REAL_TEXT[:2000]).tolist() == tokenizer.encode(REAL_TEXT[:2000]).tolist()
        assert len(tokenizer.to_bytes()) < 6 * tokenizer.vocab_size


def test_only_the_first_blank_of_a_piece_is_one() -> None:
    """So no blank is written with such a piece, and decoding it gives the three bytes that are counted."""
    pieces = [
        *HEAD,
        *BYTES,
        (BLANK * 2, "normal"),
        (f"a{BLANK}", "normal"),
        (BLANK, "normal"),
        ("a", "normal"),
    ]
    tokenizer = SentencePieceTokenizer(pieces)
    assert tokenizer.decode([263, 260]) == b"a " + BLANK.encode()
    assert tokenizer.encode(b"a  a").tolist() == [263, 262, 262, 263]


FEW = [(BLANK, "normal"), *((chr(0x100 + i), "normal") for i in range(255))]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [("", "control"), ("a", "normal"), *HEAD, *BYTES],
        [*HEAD[:3], ("", "control"), *BYTES],
        [*HEAD, ("", "unknown"), *BYTES],
        [*HEAD, *BYTES[1:], (BLANK, "normal")],
        [*HEAD, *FEW[:255]],
        [*HEAD, *FEW[:255], ("", "unused"), ("z", "normal")],
        [("", "unused"), *HEAD[1:], *FEW],
        [*HEAD, *BYTES, ("a", "normal")],
        [*HEAD, *BYTES, (BLANK, "normal"), ("", "normal")],
        [*HEAD, *BYTES, (BLANK, "normal"), ("a b", "normal")],
        [*HEAD, *BYTES, (BLANK, "normal"), ("a", "normal"), ("a", "user_defined")],
        [*HEAD, *BYTES, (BLANK, "normal"), ("é" * 128, "normal")],
        [*HEAD, *BYTES, (BLANK, "normal"), *((f"a{i}", "normal") for i in range(65_536))],
    ],
)
def test_a_vocabulary_that_cannot_write_bytes_is_refused(pieces: list[Piece]) -> None:
    with pytest.raises(DataError):
        SentencePieceTokenizer(pieces)


def test_the_vocabularies_beside_the_refused_ones_are_fine() -> None:
    assert SentencePieceTokenizer([*HEAD, *FEW]).encode(b"a").tolist() == [0, 101]
    SentencePieceTokenizer([*HEAD, *BYTES, (BLANK, "normal"), ("é" * 127, "normal")])


def trained(**options: Any) -> bytes:
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n")[:200]), model_writer=written, minloglevel=2, **options
    )
    return written.getvalue()


def test_models_of_other_kinds_are_refused() -> None:
    with pytest.raises(DataError, match="must be a BPE model"):
        SentencePieceTokenizer.from_model(trained(model_type="unigram", vocab_size=120))
    with pytest.raises(DataError, match="comes with a published dataset"):
        SentencePieceTokenizer.learn([b"x"], 300)
    blob = train_model()
    at = blob.index(b"<0x00>")
    with pytest.raises(DataError, match="byte pieces must stand in order"):
        SentencePieceTokenizer.from_model(blob[:at] + b"<0x01>" + blob[at + 6 :])


def test_scores_must_fall() -> None:
    blob = write_model([*HEAD, *BYTES, (BLANK, "normal"), ("a", "normal")])
    last = blob.rindex(b"a\x15")
    with pytest.raises(DataError, match="scores fall with the ids"):
        read_pieces(blob[: last + 2] + b"\0\0\0\0" + blob[last + 6 :])


@given(st.data())
def test_damaged_models_are_errors_or_vocabularies(data: st.DataObject) -> None:
    blob = bytearray(train_model())
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    blob = blob[: data.draw(st.sampled_from([len(blob), 3000, 7, 0]))]
    with contextlib.suppress(DataError):
        tokenizer = SentencePieceTokenizer.from_model(bytes(blob))
        assert tokenizer.decode(tokenizer.encode(b"some text")) == b"some text"
