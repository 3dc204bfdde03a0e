"""Tokenizers give back the bytes they took, and say the same as the libraries they stand on."""

from __future__ import annotations

import contextlib
import functools
import json
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from data_samples import REAL_TEXT
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HfTokenizer

from bytegolf import registry
from bytegolf.data import tokenizer as module
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.sentencepiece import SentencePieceTokenizer
from bytegolf.data.tokenizer import DEFAULT_PATTERN, BpeTokenizer, ByteTokenizer, Tokenizer, from_bytes
from bytegolf.errors import DataError
from fakes.toy_fineweb import train_model

SINGLE_BYTES = [bytes([value]) for value in range(256)]
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@functools.cache
def trained(pattern: str = DEFAULT_PATTERN) -> BpeTokenizer:
    return BpeTokenizer.learn([REAL_TEXT], 600, pattern)


@functools.cache
def case_trained() -> CaseBpeTokenizer:
    return CaseBpeTokenizer.learn([REAL_TEXT], 600)


@functools.cache
def sentencepiece(byte_fallback: bool) -> SentencePieceTokenizer:
    return SentencePieceTokenizer.from_model(train_model(byte_fallback))


def all_kinds() -> list[Tokenizer]:
    kinds: list[Tokenizer] = [ByteTokenizer(), trained(), trained(GPT2_PATTERN), BpeTokenizer(SINGLE_BYTES)]
    kinds += [case_trained(), CaseBpeTokenizer(BpeTokenizer(SINGLE_BYTES))]
    kinds += [sentencepiece(True), sentencepiece(False), SentencePieceTokenizer.byte260()]
    assert {t.kind for t in kinds} == set(registry.names("tokenizer"))
    return kinds


def pieces_of_text() -> st.SearchStrategy[bytes]:
    """Stretches of real text, of arbitrary text and of arbitrary bytes, in any order."""
    real = st.integers(0, len(REAL_TEXT) - 60).map(lambda i: REAL_TEXT[i : i + 60])
    text = [
        b"\x00",
        "▁".encode(),
        b"\r\n",
        b"\xef\xbb\xbf",
        "\u0085 \t\n".encode(),
        b"HTTPServer",
        b"\x0e",
        b"\x0fab",
    ]
    broken = [b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc3", b"\xc0\x80"]
    parts = st.one_of(
        st.binary(max_size=20), st.text(max_size=20).map(str.encode), real, st.sampled_from(text + broken)
    )
    return st.lists(parts, max_size=8).map(b"".join)


@given(pieces_of_text())
def test_any_bytes_come_back_and_are_counted(data: bytes):
    for tokenizer in all_kinds():
        ids = tokenizer.encode(data)
        assert ids.dtype == np.uint16
        assert tokenizer.decode(ids) == data
        assert tokenizer.bos_id not in ids
        counts = tokenizer.byte_counts(ids)
        assert (counts.dtype, counts.shape) == (np.uint16, ids.shape)
        assert counts.sum() == len(data)
        table = tokenizer.token_bytes()[ids]
        if isinstance(tokenizer, SentencePieceTokenizer):
            assert len(table) == len(counts)  # what a token counts depends on the one before it
        else:
            assert (table <= counts).all() if tokenizer.transforms else (table == counts).all()


@given(pieces_of_text(), st.data())
def test_documents_are_counted_and_decoded_apart(data: bytes, draw: st.DataObject):
    """For every prefix, and across the BOS between documents, which no operator crosses."""
    for tokenizer in all_kinds():
        ids = tokenizer.encode(data)
        cut = ids[: draw.draw(st.integers(0, len(ids)))]
        bos = np.array([tokenizer.bos_id], dtype=np.uint16)
        counts = tokenizer.byte_counts(np.concatenate([bos, cut, bos, ids]))
        assert counts[0] == counts[len(cut) + 1] == 0
        assert counts[1 : len(cut) + 1].tolist() == tokenizer.byte_counts(ids)[: len(cut)].tolist()
        assert counts[len(cut) + 2 :].tolist() == tokenizer.byte_counts(ids).tolist()
        assert tokenizer.decode(np.concatenate([bos, ids, bos, ids])) == data + data


def test_an_operator_at_the_end_of_a_document_works_on_nothing_in_the_next():
    cap, escape, letter = 0x0E + 1, 0x10 + 1, ord("a") + 1
    ids = np.array([0, escape, 0, escape, cap, letter, 0, cap, 0, letter], np.uint16)
    assert case_trained().byte_counts(ids).tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    with pytest.raises(DataError, match="whole documents"):
        case_trained().decode(ids)


@given(st.data())
def test_a_decoder_takes_any_ids_and_gives_the_bytes_that_are_counted(data: st.DataObject):
    """Token by token, each the bytes of its count; whole where the ids are those of a text."""
    tokenizer = data.draw(st.sampled_from(all_kinds()))
    rare = st.sampled_from([0x0F, 0x10, 0x11, 98, 0xFF])  # the operators, a letter
    ids = data.draw(
        st.one_of(
            st.lists(st.one_of(rare, st.integers(1, tokenizer.vocab_size - 1)), max_size=30),
            pieces_of_text().map(lambda text: tokenizer.encode(text).tolist()),
        )
    )
    decoder = tokenizer.decoder()
    parts = [decoder.decode([i]) for i in ids]
    assert [len(part) for part in parts] == tokenizer.byte_counts(np.array(ids, np.uint16)).tolist()
    whole = tokenizer.decoder().decode(ids)
    assert b"".join(parts) == whole
    with contextlib.suppress(DataError):
        assert tokenizer.decode(ids) == whole


@pytest.mark.parametrize("unit", ["a", " ", "\n", "!\n", "é", "\x00"])
def test_long_runs_come_back(unit: str):
    data = unit.encode() * 100_000
    assert trained().decode(trained().encode(data)) == data


def test_bos_is_id_0_or_that_of_the_challenge_and_has_no_bytes():
    for tokenizer in all_kinds():
        bos = tokenizer.bos_id
        assert bos == (1 if isinstance(tokenizer, SentencePieceTokenizer) else 0)
        assert tokenizer.token_bytes()[bos] == 0
        assert tokenizer.decode([bos, *tokenizer.encode(b"text"), bos]) == b"text"
        assert len(tokenizer.token_bytes()) == tokenizer.vocab_size
        assert tokenizer.byte_counts(np.empty(0, np.uint16)).tolist() == []


def test_the_byte_tokenizer_counts_from_one():
    assert ByteTokenizer().encode(b"\x00a\xff").tolist() == [1, 98, 256]
    assert ByteTokenizer().vocab_size == 257


def merge_by_hand(data: bytes, pieces: tuple[bytes, ...]) -> list[int]:
    """The definition: join the adjacent pair of lowest rank, the leftmost of equals, until none is a piece."""
    rank = {piece: i for i, piece in enumerate(pieces)}
    parts = [data[i : i + 1] for i in range(len(data))]
    while joint := [(rank[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in rank]:
        _, i = min(joint)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [rank[part] + 1 for part in parts]


@given(st.text("abr c", max_size=40))
def test_encoding_is_byte_pair_encoding_by_the_definition(text: str):
    pieces = (*SINGLE_BYTES, b"ab", b"ra", b"abra", b" c", b"aa", b"cab", b"abc")
    uncut = BpeTokenizer(pieces, r"[\s\S]+")
    before, after = merge_by_hand(text.encode(), pieces), merge_by_hand(text[::-1].encode(), pieces)
    assert uncut.encode(text.encode()).tolist() == before
    assert uncut.encode(text.encode() + b"\xff" + text[::-1].encode()).tolist() == [*before, 256, *after]


@functools.cache
def hugging_face(pattern: str) -> tuple[HfTokenizer, dict[int, int]]:
    """The trained library tokenizer itself, and its ids -> ours."""
    learner = HfTokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(pattern + r"|[\s\S]"), "isolated")
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([cut, spell])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=599, min_frequency=2, initial_alphabet=alphabet, show_progress=False, max_token_length=128
    )
    learner.train_from_iterator([REAL_TEXT.decode()], trainer)
    ours = {trained(pattern).pieces[256 + k]: 257 + k for k in range(599 - 256)}
    byte_of = {spell.pre_tokenize_str(c)[-1][0][-1]: c.encode() for c in map(chr, range(128))}
    names = {i: name for name, i in learner.get_vocab().items()}
    mapped = {}
    for i, name in names.items():
        if all(c in byte_of for c in name):
            piece = b"".join(byte_of[c] for c in name)
            mapped[i] = ours[piece] if len(piece) > 1 else piece[0] + 1
    return learner, mapped


@pytest.mark.parametrize("pattern", [DEFAULT_PATTERN, GPT2_PATTERN])
@given(start=st.integers(0, len(REAL_TEXT)), text=st.text(st.characters(max_codepoint=127), max_size=60))
def test_ids_are_those_of_the_library_that_trained_them(pattern: str, start: int, text: str):
    learner, ours = hugging_face(pattern)
    for data in (text, REAL_TEXT[start : start + 3000].decode("ascii", "ignore")):
        assert trained(pattern).encode(data.encode()).tolist() == [ours[i] for i in learner.encode(data).ids]


def test_training_twice_gives_the_same_bytes():
    again = BpeTokenizer.learn([REAL_TEXT], 600)
    assert again.to_bytes() == trained().to_bytes()
    assert again.sha256 == trained().sha256


def test_training_ignores_bytes_that_are_not_utf8_and_still_encodes_them():
    broken = REAL_TEXT[:9000] + b"\xff\xfe" + REAL_TEXT[9000:9010] + b"\xc3" + REAL_TEXT[9010:20000]
    tokenizer = BpeTokenizer.learn([broken], 400)
    assert tokenizer.decode(tokenizer.encode(broken)) == broken
    assert not any(b"\xff" in piece or b"\xc3" in piece for piece in tokenizer.pieces[256:])
    assert tokenizer.encode(b"\xff").tolist() == [256]


def test_too_little_text_is_an_error_that_says_how_far_it_reached():
    with pytest.raises(DataError) as error:
        BpeTokenizer.learn([b"abababab"], 1024)
    reached = int(str(error.value.fix).split("vocab_size=")[1].split()[0])
    assert BpeTokenizer.learn([b"abababab"], reached).vocab_size == reached
    assert 258 <= reached < 270


@pytest.mark.parametrize("size", [0, 256, 65537])
def test_a_vocabulary_of_an_impossible_size_is_an_error(size: int):
    with pytest.raises(DataError, match=r"257\.\.65536"):
        BpeTokenizer.learn([REAL_TEXT], size)
    with pytest.raises(DataError, match="257"):
        ByteTokenizer.learn([REAL_TEXT], size)


def test_a_serialised_tokenizer_comes_back():
    for tokenizer in all_kinds():
        blob = tokenizer.to_bytes()
        again = from_bytes(blob)
        assert again.to_bytes() == blob
        assert again.encode(REAL_TEXT).tolist() == tokenizer.encode(REAL_TEXT).tolist()
        assert type(again).from_bytes(blob).sha256 == tokenizer.sha256


def test_a_serialised_tokenizer_has_these_bytes():
    # Merge k has two ranks of bit_length(255 + k) bits: a b in 8 bits each, b a and ab a in 9.
    blob = BpeTokenizer([*SINGLE_BYTES, b"ab", b"ba", b"aba"], "x").to_bytes()
    assert blob[:-4] == b'{"kind":"bpe","merges":3,"pattern":"x"}\n' + bytes.fromhex("61623118600610")
    assert blob[-4:] == zlib.crc32(blob[:-4]).to_bytes(4, "little")
    assert ByteTokenizer().to_bytes()[:-4] == b'{"kind":"bytes"}\n'
    bits = sum(2 * (255 + k).bit_length() for k in range(600 - 257))
    assert len(trained().to_bytes()) == len(trained().to_bytes().split(b"\n")[0]) + 1 + -(-bits // 8) + 4


@given(st.data())
def test_any_damage_is_an_error(data: st.DataObject):
    blob = bytearray(data.draw(st.sampled_from(all_kinds())).to_bytes())
    at = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        blob[at] ^= data.draw(st.integers(1, 255))
    else:
        del blob[at:]
    with pytest.raises(DataError):
        from_bytes(bytes(blob))


def sealed(head: object, payload: bytes = b"") -> bytes:
    body = (head if isinstance(head, bytes) else json.dumps(head).encode()) + b"\n" + payload
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        sealed([]),
        sealed(b"[" * 8000),
        sealed(b" " * 10_000 + b'{"kind":"bytes"}'),
        sealed({"kind": 3}),
        sealed({"kind": "bpee"}),
        sealed({"kind": "bytes", "merges": 0}),
        sealed({"kind": "bytes"}, b"x"),
        sealed({"kind": "case_bpe"}),
        sealed({"kind": "case_bpe"}, ByteTokenizer().to_bytes()),
        sealed({"kind": "case_bpe", "merges": 0}, BpeTokenizer(SINGLE_BYTES).to_bytes()),
        sealed({"kind": "bpe", "merges": 1}),
        sealed({"kind": "bpe", "merges": True, "pattern": "x"}, b"aa"),
        sealed({"kind": "bpe", "merges": -1, "pattern": "x"}),
        sealed({"kind": "bpe", "merges": 10**12, "pattern": "x"}),
        sealed({"kind": "bpe", "merges": 1, "pattern": 5}, b"aa"),
        sealed({"kind": "bpe", "merges": 1, "pattern": "("}, b"aa"),
        sealed({"kind": "bpe", "merges": 1, "pattern": "x" * 1001}, b"aa"),
        sealed({"kind": "bpe", "merges": 1, "pattern": "x"}, b"aaa"),
        # Two merges in 8 + 8 and 9 + 9 bits: a rank that is not there yet, a byte too many, padding of ones.
        sealed({"kind": "bpe", "merges": 2, "pattern": "x"}, bytes.fromhex("6161809840")),
        sealed({"kind": "bpe", "merges": 2, "pattern": "x"}, bytes.fromhex("616180184000")),
        sealed({"kind": "bpe", "merges": 2, "pattern": "x"}, bytes.fromhex("616180187f")),
    ],
)
def test_a_crafted_blob_is_an_error(blob: bytes):
    with pytest.raises(DataError):
        from_bytes(blob)


def test_the_blob_beside_the_crafted_ones_is_whole():
    blob = sealed({"kind": "bpe", "merges": 2, "pattern": "x"}, bytes.fromhex("6161801840"))
    assert from_bytes(blob).decode([257, 258]) == b"aaaaa"


def test_pieces_that_double_are_stopped_before_they_fill_the_memory():
    doubling = [(97, 97), *((255 + k, 255 + k) for k in range(1, 40))]
    bits = "".join(f"{r:0{(255 + k).bit_length()}b}" for k, pair in enumerate(doubling) for r in pair)
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8)
    with pytest.raises(DataError, match="merge 7 of pieces 262 and 262"):
        from_bytes(sealed({"kind": "bpe", "merges": 40, "pattern": "x"}, payload))


@pytest.mark.parametrize(
    "pieces",
    [
        SINGLE_BYTES[:-1],
        [*SINGLE_BYTES[1:], b"\x00"],
        [*SINGLE_BYTES, b"a"],
        [*SINGLE_BYTES, b""],
        [*SINGLE_BYTES, b"ab", b"ab"],
        [*SINGLE_BYTES, b"abcd"],
        [*SINGLE_BYTES, *(b"a" * n for n in range(2, 130))],
        [*SINGLE_BYTES, *(a + b for a in SINGLE_BYTES for b in SINGLE_BYTES)],
    ],
)
def test_pieces_that_break_the_rules_are_an_error(pieces: list[bytes]):
    with pytest.raises(DataError):
        BpeTokenizer(pieces)


def test_a_pattern_that_loses_text_is_an_error_and_one_that_skips_text_is_not():
    assert BpeTokenizer(SINGLE_BYTES, "x").encode("xay é".encode()).tolist() == [121, 98, 122, 33, 196, 170]
    with pytest.raises(DataError, match="without loss"):
        BpeTokenizer(SINGLE_BYTES, "a*").encode(b"bcd")


@pytest.mark.parametrize("ids", [[600], [-1], [0, 5, 70000]])
def test_an_id_beyond_the_vocabulary_cannot_be_decoded(ids: list[int]):
    for tokenizer in (trained(), case_trained()):
        for use in (tokenizer.decode, tokenizer.decoder().decode, tokenizer.byte_counts):
            with pytest.raises(DataError, match=r"0\.\.599"):
                use(np.array(ids))


def test_no_tokenizer_library_is_loaded_by_importing_the_module():
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert not any(line.startswith(("import tiktoken", "from tokenizers")) for line in source.splitlines())
