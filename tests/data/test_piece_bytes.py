"""The published byte rule: on its vector, against a plain form of it, and on text that SentencePiece encodes."""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from data_samples import REAL_TEXT
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from bytegolf.data import piece_bytes as module
from bytegolf.data.piece_bytes import BLANK, PieceBytes, PieceType, check_challenge_export
from bytegolf.errors import DataError

PUBLISHED_MODEL = Path(__file__).parents[2].parent / "shared" / "data" / "fineweb_1024_bpe.model"

CONTROLS: list[tuple[str, PieceType]] = [("<pad>", "control"), ("<s>", "control"), ("<unk>", "unknown")]
WORDS: list[tuple[str, PieceType]] = [
    (BLANK + "He", "normal"),
    ("llo", "normal"),
    (BLANK, "normal"),
    ("<0xE2>", "byte"),
    ("<0x82>", "byte"),
    ("<0xAC>", "byte"),
    ("old", "unused"),
]
BOS, HE, LLO, LONE, X_E2, X_82, X_AC, UNUSED = 1, 3, 4, 5, 6, 7, 8, 9


def small() -> PieceBytes:
    return PieceBytes.from_pieces(CONTROLS + WORDS)


def test_the_vector() -> None:
    tokens = [BOS, HE, LLO, LONE, X_E2, X_82, X_AC, BOS, HE]
    assert small().per_target(tokens).tolist() == [2, 3, 1, 1, 1, 1, 0, 2]
    assert small().stream_bytes(np.array(tokens, np.uint16)) == 11


def plain_rule(pieces: list[tuple[str, PieceType]], previous: int, target: int) -> int:
    piece, kind = pieces[target]
    if kind == "byte":
        return 1
    if kind not in ("normal", "user_defined"):
        return 0
    if not piece.startswith(BLANK):
        return len(piece.encode())
    blank = pieces[previous][1] in ("normal", "user_defined", "byte")
    return len(piece[1:].encode()) + blank


KINDS = st.sampled_from(["normal", "user_defined", "byte", "control", "unknown", "unused"])
VOCABULARIES = st.lists(st.tuples(st.text(BLANK + "aé€ ", min_size=1, max_size=4), KINDS), max_size=12).map(
    lambda found: [*found, (BLANK, "normal")]
)


@given(VOCABULARIES, st.data())
def test_the_tables_are_the_plain_rule(pieces: list[tuple[str, PieceType]], data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, len(pieces) - 1), max_size=20))
    expected = [plain_rule(pieces, p, t) for p, t in pairwise(tokens)]
    rule = PieceBytes.from_pieces(pieces)
    assert rule.per_target(np.array(tokens, np.uint16)).tolist() == expected
    assert rule.stream_bytes(np.array(tokens, np.uint16)) == sum(expected)
    assert rule.vocab_size == len(pieces)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_a_stream_is_counted_in_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    tokens = np.random.default_rng(0).integers(0, small().vocab_size, 50).astype(np.uint16)
    expected = int(small().per_target(tokens).sum())
    monkeypatch.setattr(module, "_CHUNK_TOKENS", chunk)
    assert small().stream_bytes(tokens) == expected


def test_a_blank_before_a_word_counts_once_and_behind_bos_not_at_all() -> None:
    assert small().per_target([LLO, HE]).tolist() == [len(b" He")]
    assert small().per_target([BOS, HE]).tolist() == [len(b"He")]
    assert small().per_target([LLO, LONE]).tolist() == [1]
    assert small().base[HE] == 2, "the table holds the word without its blank"


def test_only_the_first_blank_of_a_piece_is_taken_for_one() -> None:
    """Published behaviour: the second is counted as the three bytes of its own character."""
    rule = PieceBytes.from_pieces([(BLANK, "normal"), (BLANK + BLANK + "x", "normal")])
    assert rule.per_target([0, 1]).tolist() == [1 + 3 + 1]


def test_a_byte_piece_counts_one_and_not_the_three_of_a_replacement_character() -> None:
    assert small().per_target([LLO, X_E2, X_82, X_AC]).sum() == len("€".encode()) == 3


def test_ids_that_stand_for_no_text_count_nothing_and_end_a_word() -> None:
    for i in (0, BOS, 2, UNUSED):
        assert small().per_target([LLO, i, HE]).tolist() == [0, 2]


def test_a_vocabulary_without_a_lone_blank_is_refused() -> None:
    with pytest.raises(DataError, match=r"U\+2581 as a piece, or one blank would count 3 bytes"):
        PieceBytes.from_pieces([p for p in CONTROLS + WORDS if p[0] != BLANK])
    with pytest.raises(DataError, match="3 bytes"):
        PieceBytes.from_pieces([(BLANK, "unused"), ("a", "normal")])


@pytest.mark.parametrize("tokens", [[1, 10], [-1, 1], [70000, 2]])
def test_an_id_beyond_the_vocabulary_is_an_error(tokens: list[int]) -> None:
    with pytest.raises(DataError, match=r"0\.\.9"):
        small().stream_bytes(np.array(tokens))


def test_a_stream_of_one_token_has_no_target() -> None:
    assert small().stream_bytes(np.array([1], np.uint16)) == 0
    assert small().stream_bytes(np.array([], np.uint16)) == 0
    assert small().per_target([]).tolist() == []


# What SentencePiece encodes.


@functools.cache
def toy() -> tuple[SentencePieceProcessor, PieceBytes]:
    """A model with the settings of the published one, trained on a few modules, and its tables."""
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(REAL_TEXT.decode().split("\n")),
        model_writer=written,
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="nmt_nfkc",
        add_dummy_prefix=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.model"
        path.write_bytes(written.getvalue())
        return SentencePieceProcessor(model_proto=written.getvalue()), PieceBytes.from_sentencepiece(path)


def normalised(model: SentencePieceProcessor, text: str) -> bytes:
    return model.normalize(text).replace(BLANK, " ").encode()


ODD = [
    "\x00",
    BLANK,
    " ",
    "  ",
    "\n",
    "\t",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\ufffd",
    "ﬁ",
    "\uff11",
    "é",
    "€",
    "<s>",
    "<unk>",
]
DOCUMENTS = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=8)), max_size=8).map("".join)


@given(DOCUMENTS)
def test_the_bytes_of_a_document_are_those_of_its_normalised_text(text: str) -> None:
    model, rule = toy()
    assert rule.stream_bytes(np.array([1, *model.encode(text)])) == len(normalised(model, text))


@given(st.lists(DOCUMENTS, max_size=5))
def test_documents_in_a_stream_are_counted_as_they_are_alone(texts: list[str]) -> None:
    model, rule = toy()
    stream = np.array([1] + [i for text in texts for i in [*model.encode(text), 1]])
    assert rule.stream_bytes(stream) == sum(len(normalised(model, text)) for text in texts)


PUBLISHED_BEHAVIOUR: dict[str, tuple[str, int]] = {
    "empty": ("", 0),
    "plain": ("one two", 7),
    "NUL is one byte piece": ("a\x00b", 3),
    "U+2581 in the text is taken for a blank": ("a▁b", 3),
    "a lone U+2581 is dropped": ("▁", 0),
    "leading and trailing blanks are dropped": ("  hello ", 5),
    "runs of blanks and line breaks are one blank": ("hello   world \n x", 13),
    "compatible characters are folded": ("\uff11\uff12 ﬁ", 5),
    "characters without width become a blank": ("a\u200bb", 3),
    "U+FFFD becomes a blank": ("a\ufffdb", 3),
    "a byte order mark goes": ("\ufeffx", 1),
}


@pytest.mark.parametrize("name", PUBLISHED_BEHAVIOUR)
def test_where_the_published_rule_departs_from_the_bytes_of_the_document(name: str) -> None:
    text, counted = PUBLISHED_BEHAVIOUR[name]
    model, rule = toy()
    assert rule.stream_bytes(np.array([1, *model.encode(text)])) == counted


@pytest.fixture(scope="module")
def published() -> tuple[SentencePieceProcessor, PieceBytes]:
    if not PUBLISHED_MODEL.is_file():
        missing = f"the published model is not there and not tested: {PUBLISHED_MODEL}"
        warnings.warn(missing, stacklevel=1)
        pytest.skip(missing)
    model = SentencePieceProcessor(model_file=str(PUBLISHED_MODEL))
    return model, PieceBytes.from_sentencepiece(PUBLISHED_MODEL)


def test_the_published_vocabulary(published: tuple[SentencePieceProcessor, PieceBytes]) -> None:
    model, rule = published
    assert rule.vocab_size == 1024
    assert rule.boundary.nonzero()[0].tolist() == [0, 1, 2, 3]
    assert (rule.base[4:] + rule.lead[4:] > 0).all()
    lone = model.piece_to_id(BLANK)
    assert (rule.base[lone], rule.lead[lone]) == (0, True)


@given(st.text(st.sampled_from("The cat, it's 12 o'clock.\n\tﬁ\uff11" + BLANK), max_size=60))
def test_the_published_model_counts_normalised_bytes(
    published: tuple[SentencePieceProcessor, PieceBytes], text: str
) -> None:
    model, rule = published
    ids = model.encode(text)
    assert 3 not in ids
    assert rule.stream_bytes(np.array([1, *ids])) == len(normalised(model, text))


def test_the_published_model_has_no_bytes_for_what_it_cannot_write(
    published: tuple[SentencePieceProcessor, PieceBytes],
) -> None:
    """Published behaviour: the file has no byte pieces, so a rare character is <unk>, a boundary of 0 bytes."""
    model, rule = published
    ids = [1, *model.encode("a \U0001f600 b")]
    assert 3 in ids
    assert rule.stream_bytes(np.array(ids)) == len(b"a  ")


@pytest.mark.parametrize("content", [None, b"", b"hello", bytes(100)])
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="must be a SentencePiece model"):
        PieceBytes.from_sentencepiece(path)


# The published exports.


@pytest.mark.parametrize(
    ("targets", "n_bytes", "expected"),
    [
        (62_021_632, 151_080_363, None),
        (62_021_632, 151_080_363, 151_080_363),
        (63_779_840, 155_769_745, None),
        (63_779_840, 155_769_747, None),
        (8, 11, 11),
    ],
)
def test_a_stream_of_known_bytes_passes(targets: int, n_bytes: int, expected: int | None) -> None:
    check_challenge_export(targets, n_bytes, expected)


@pytest.mark.parametrize(
    ("targets", "n_bytes", "expected", "says"),
    [
        (62_021_632, 151_080_364, None, "has 151,080,363 bytes"),
        (62_021_632, 151_080_364, 151_080_364, "has 151,080,363 bytes"),
        (62_021_632, 151_080_363, 151_080_364, "must have 151,080,364 bytes"),
        (63_779_840, 155_769_748, None, "has 155,769,746 bytes"),
        (63_779_840, 155_769_744, None, "has 155,769,746 bytes"),
        (62_021_631, 151_080_363, None, "not a known export"),
        (8, 11, None, "not a known export"),
        (8, 11, 12, "must have 12 bytes"),
    ],
)
def test_another_stream_stops_the_run(targets: int, n_bytes: int, expected: int | None, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_challenge_export(targets, n_bytes, expected)
