"""The vocabulary of a published SentencePiece model as a tokenizer: the ids of FineWeb shards <-> bytes.

Pieces come in the types that `piece_bytes` counts by, and decoding gives exactly the bytes that are counted there:
a leading U+2581 of a piece is a blank, except right behind a boundary (control, unknown, unused) and at the
beginning; a byte piece is its byte; a boundary is nothing.

`encode` is without loss for any bytes, which the published tokenizer is not. Where its normaliser leaves a text as
it is and its vocabulary can write every character, the ids are the same. They differ in this: the text is not
normalised, and what no piece can write is written as single bytes: a character that is no piece, a literal U+2581,
bytes that are no UTF-8, a blank at the very beginning. A vocabulary with byte pieces has them for that. One
without, such as the published one of 1,024, writes the byte b as two ids: 0, which is padding and stands in no
published shard, and 4 + b, which behind 0 stands for that byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import numpy.typing as npt

from bytegolf.data.framing import damaged, frame, unframe
from bytegolf.data.model_proto import Piece, read_pieces, write_model
from bytegolf.data.piece_bytes import BLANK, PieceBytes, PieceType
from bytegolf.data.tokenizer import MAX_VOCAB_SIZE, Decoder, Ids
from bytegolf.errors import DataError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

PAD_ID, BOS_ID = 0, 1
FIRST_PIECE = 4  # behind padding, boundary, end and unknown; also where the byte 0 stands behind padding
MAX_PIECE_BYTES = 255

_BYTES = range(256)
_WRITTEN = ("normal", "user_defined")
_BOUNDARIES = ("control", "unknown", "unused")


class SentencePieceTokenizer:
    """See above. Made from pieces in the order of their ids; names of boundaries are not kept.

    Raises DataError unless id 1 (BOS) is a control piece, there is one unknown piece, either all 256 byte pieces
    are there, in order, or id 0 is a control piece and ids 4 to 259 have bytes; and unless the pieces that are
    written are different, have 1 to 255 bytes and no plain blank, and the lone U+2581 is one of them. A vocabulary
    of byte pieces alone (byte260) needs no U+2581.
    """

    kind: ClassVar[str] = "sentencepiece"
    transforms: ClassVar[bool] = False

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces: tuple[Piece, ...] = tuple((p if t in _WRITTEN else "", t) for p, t in pieces)
        self._kinds = [kind for _, kind in self.pieces]
        self._written = [piece for piece, kind in self.pieces if kind in _WRITTEN]
        _check(self.pieces, self._kinds, self._written)
        rule = _rule(self.pieces, self._written)
        self._base, self._lead, self._boundary = rule.base.astype(np.uint16), rule.lead, rule.boundary
        self._byte_ids = np.flatnonzero([kind == "byte" for kind in self._kinds]).astype(np.uint16)
        self.escapes = not len(self._byte_ids)

    @classmethod
    def from_model(cls, blob: bytes, where: object = None) -> SentencePieceTokenizer:
        """From the bytes of a `.model` file. Raises DataError as `read_pieces` and the class do."""
        pieces = read_pieces(blob, where)
        wrong = [
            name for i, (name, _) in enumerate(p for p in pieces if p[1] == "byte") if name != f"<0x{i:02X}>"
        ]
        if wrong:
            raise DataError(
                "byte pieces must stand in order", got=f"{wrong[0]} too late or early", where=where
            )
        return cls(pieces)

    @classmethod
    def byte260(cls) -> SentencePieceTokenizer:
        """Id = byte + 4 behind padding, BOS, end and unknown: the byte export of the challenge."""
        heads: list[PieceType] = ["control", "control", "control", "unknown"]
        return cls([("", kind) for kind in heads] + [("", "byte")] * 256)

    @classmethod
    def learn(cls, texts: Iterable[bytes], vocab_size: int) -> SentencePieceTokenizer:
        """Always raises DataError: vocabularies of this kind come with their shards."""
        raise DataError(
            "a sentencepiece tokenizer comes with a published dataset and is not trained here",
            fix="use `bytegolf data fetch fineweb`, or the tokenizer `bpe` for text of your own",
        )

    bos_id = BOS_ID

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.pieces)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def encode(self, data: bytes) -> Ids:
        """Token ids of `data`, without BOS; see above for what is not as the published tokenizer has it.

        Cost: about 1.3 s per MB of English, most of it in the library.
        """
        if not self._written:
            return self._byte_ids[np.frombuffer(data, dtype=np.uint8)]
        text = data.decode("utf-8", "surrogateescape")
        runs, parts = [], []
        for is_run, part in self._cut(text):
            runs += [part] if is_run else []
            parts.append(None if is_run else self._single(part.encode("utf-8", "surrogateescape")))
        encoded = iter(self._library.encode(runs, num_threads=1) if runs else [])
        found = [np.array(next(encoded), dtype=np.uint16) if part is None else part for part in parts]
        return np.concatenate(found) if found else np.empty(0, dtype=np.uint16)

    def _cut(self, text: str) -> Iterator[tuple[bool, str]]:
        """The text in stretches: (whether pieces can write it, stretch)."""
        at = 0
        if text.startswith(" "):  # behind a boundary a piece gives no blank
            yield False, text[0]
            at = 1
        for match in self._unwritten.finditer(text, at):
            if at < match.start():
                yield True, text[at : match.start()]
            yield False, match.group()
            at = match.end()
        if at < len(text):
            yield True, text[at:]

    def _single(self, data: bytes) -> Ids:
        values = np.frombuffer(data, dtype=np.uint8)
        if not self.escapes:
            return self._byte_ids[values]
        pairs = np.full((len(values), 2), PAD_ID, dtype=np.uint16)
        pairs[:, 1] = values.astype(np.uint16) + FIRST_PIECE
        return pairs.ravel()

    @cached_property
    def _unwritten(self) -> re.Pattern[str]:
        characters = {piece.replace(BLANK, " ") for piece in self._written if len(piece) == 1}
        return re.compile("[^" + "".join(map(re.escape, sorted(characters))) + "]+")

    @cached_property
    def _library(self) -> SentencePieceProcessor:
        """The library's encoder for these pieces. It sees only text whose characters are all pieces.

        A piece with U+2581 behind its first character stands for that character and not for a blank: the library
        would take it for one, so it may not use the piece.
        """
        from sentencepiece import SentencePieceProcessor

        rows: list[Piece] = []
        for i, (piece, kind) in enumerate(self.pieces):
            if kind not in _WRITTEN:  # no text can spell a name with a plain blank
                rows.append((f" {i}", "unknown" if kind == "unknown" else "control"))
            else:
                rows.append((piece, "unused" if BLANK in piece[1:] else kind))
        return SentencePieceProcessor(model_proto=write_model(rows))

    def decode(self, ids: npt.ArrayLike) -> bytes:
        """The bytes of `ids` (any shape, read in C order) from the beginning of a document on.

        Raises DataError for an id beyond the vocabulary.
        """
        return self._decode_behind(BOS_ID, self._known(ids))

    def decoder(self) -> Decoder:
        """For tokens that come one by one: what a token gives depends on the one before it."""
        return _Stream(self)

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of each id, (vocab_size,), its blank counted: what it gives behind an ordinary token."""
        return (self._base + self._lead).astype(np.int64)

    def byte_counts(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Bytes of the text that each token stands for, (n,), the first as at the beginning of a document.

        They sum to the bytes of `decode(ids)`. Raises DataError for an id beyond the vocabulary. Cost: about
        0.02 s and 16 MB per million tokens.
        """
        flat = self._known(ids)
        return self._behind(_shifted(BOS_ID, flat), flat)

    def bytes_behind(self, tokens: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Bytes of tokens[1:], (n - 1,), each behind the token before it. Raises DataError as `byte_counts`."""
        flat = self._known(tokens)
        return self._behind(flat[:-1], flat[1:])

    def _behind(self, before: npt.NDArray[Any], ids: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        counts: npt.NDArray[np.uint16] = self._base[ids] + (self._lead[ids] & ~self._boundary[before])
        if self.escapes:
            counts[_escaped(before, ids)] = 1
        return counts

    def _decode_behind(self, before: int, ids: npt.NDArray[Any]) -> bytes:
        """The bytes of ids that follow the token `before`."""
        behind, plain = _shifted(before, ids), ids.astype(np.int64)
        form = np.where(self._boundary[behind], 1, 0)
        if self.escapes:
            form[_escaped(behind, ids)] = 2
        table = self._forms
        return b"".join([table[i] for i in (plain + form * self.vocab_size).tolist()])

    @cached_property
    def _forms(self) -> list[bytes]:
        """The bytes of every id: behind an ordinary token, behind a boundary, behind padding that escapes."""
        single = iter(bytes([value]) for value in _BYTES)
        behind_boundary = [
            next(single) if kind == "byte" else piece.removeprefix(BLANK).encode()
            for piece, kind in self.pieces
        ]
        ordinary = [b" " * bool(lead) + rest for lead, rest in zip(self._lead, behind_boundary, strict=True)]
        escaped = [bytes([(i - FIRST_PIECE) & 0xFF]) for i in range(self.vocab_size)]
        return ordinary + behind_boundary + escaped

    def to_bytes(self) -> bytes:
        """Head {kind, types}: [type, how many] of runs of ids; payload: each written piece behind its length.

        A length is one byte, and so is U+2581, written as a blank. 4.6 kB for the published 1,024 ids.
        """
        types = [[kind, sum(1 for _ in run)] for kind, run in groupby(self._kinds)]
        texts = [piece.replace(BLANK, " ").encode() for piece in self._written]
        payload = b"".join(bytes([len(text)]) + text for text in texts)
        return frame({"kind": self.kind, "types": types}, payload)

    @classmethod
    def from_bytes(cls, blob: bytes) -> SentencePieceTokenizer:
        """The inverse of `to_bytes`. Raises DataError for anything else."""
        head, payload = unframe(blob, cls.kind, {"types"})
        kinds = _kinds(head["types"])
        texts = _texts(payload)
        written = [kind in _WRITTEN for kind in kinds]
        if sum(written) != len(texts):
            raise damaged(f"{len(texts)} pieces where there are {sum(written)}")
        rest = iter(texts)
        found = cls([(next(rest) if here else "", kind) for kind, here in zip(kinds, written, strict=True)])
        if found.to_bytes() != blob:
            raise damaged("a form that no tokenizer has")
        return found

    def _known(self, ids: npt.ArrayLike) -> npt.NDArray[Any]:
        flat = np.asarray(ids).ravel()
        if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < self.vocab_size:
            raise DataError(
                f"a token id must be in 0..{self.vocab_size - 1}", got=f"{int(flat.min())}..{int(flat.max())}"
            )
        return flat if flat.size else flat.astype(np.uint16)


class _Stream:
    """Decodes token by token: the last token is kept between calls."""

    def __init__(self, tokenizer: SentencePieceTokenizer) -> None:
        self._tokenizer, self._before = tokenizer, BOS_ID

    def decode(self, ids: npt.ArrayLike) -> bytes:
        flat = self._tokenizer._known(ids)
        data = self._tokenizer._decode_behind(self._before, flat)
        self._before = int(flat[-1]) if len(flat) else self._before
        return data


def _check(pieces: Sequence[Piece], kinds: Sequence[PieceType], written: Sequence[str]) -> None:
    wrong = _what_is_wrong(pieces, kinds, written)
    if wrong:
        raise DataError(
            "a SentencePiece vocabulary must be one that bytegolf can write bytes with", got=wrong
        )


def _what_is_wrong(pieces: Sequence[Piece], kinds: Sequence[PieceType], written: Sequence[str]) -> str | None:
    if len(pieces) > MAX_VOCAB_SIZE:
        return f"{len(pieces)} ids, where at most {MAX_VOCAB_SIZE} fit"
    if len(pieces) < FIRST_PIECE or kinds[BOS_ID] != "control":
        return f"no control piece for BOS at id {BOS_ID}"
    if kinds.count("unknown") != 1:
        return f"{kinds.count('unknown')} unknown pieces"
    if kinds.count("byte") not in (0, len(_BYTES)):
        return f"{kinds.count('byte')} byte pieces"
    room = kinds[FIRST_PIECE : FIRST_PIECE + len(_BYTES)]
    escapes = kinds[PAD_ID] == "control" and len(room) == len(_BYTES) and not set(room) & set(_BOUNDARIES)
    if not kinds.count("byte") and not escapes:
        return "no byte pieces, and no padding at id 0 with 256 pieces from id 4 on"
    if len(set(written)) < len(written):
        return "a piece twice"
    odd = [
        p for p in written if " " in p or not 1 <= len(p.encode("utf-8", "surrogatepass")) <= MAX_PIECE_BYTES
    ]
    return f"the piece {odd[0]!r}" if odd else None


def _rule(pieces: Sequence[Piece], written: Sequence[str]) -> PieceBytes:
    """The byte rule. Without written pieces there is no blank that could count wrong, and none is asked for."""
    if written:
        return PieceBytes.from_pieces(pieces)
    kinds = np.array([kind for _, kind in pieces])
    return PieceBytes(
        base=(kinds == "byte").astype(np.int64), lead=np.zeros(len(kinds), bool), boundary=kinds != "byte"
    )


def _shifted(before: int, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The token before each: `before`, ids[0], ids[1], .."""
    return np.concatenate([np.array([before], dtype=ids.dtype), ids[:-1]]) if len(ids) else ids


def _escaped(before: npt.NDArray[Any], ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    here: npt.NDArray[np.bool_] = (
        (before == PAD_ID) & (ids >= FIRST_PIECE) & (ids < FIRST_PIECE + len(_BYTES))
    )
    return here


def _kinds(types: object) -> list[PieceType]:
    kinds: list[PieceType] = []
    for run in types if isinstance(types, list) else [None]:
        if not isinstance(run, list) or len(run) != 2 or run[0] not in get_args(PieceType):
            raise damaged(f"types {str(types)[:60]}")
        if type(run[1]) is not int or not 1 <= run[1] <= MAX_VOCAB_SIZE - len(kinds):
            raise damaged(f"types {str(types)[:60]}")
        kinds += [run[0]] * run[1]
    return kinds


def _texts(payload: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(payload):
        end = at + 1 + payload[at]
        if end > len(payload):
            raise damaged("a piece beyond the end")
        try:
            texts.append(payload[at + 1 : end].decode().replace(" ", BLANK))
        except UnicodeDecodeError as error:
            raise damaged("a piece that is no UTF-8") from error
        at = end
    return texts
