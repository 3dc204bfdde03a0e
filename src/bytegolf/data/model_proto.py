"""SentencePiece `.model` files, as much of them as a vocabulary is: read, and written with a plain normaliser.

A file is one protocol buffer. Of its fields three matter here, with these numbers inside them:

    1 pieces (repeated)    1 piece (UTF-8), 2 score (float), 3 type (1 normal, 2 unknown, 3 control,
                           4 user-defined, 5 unused, 6 byte)
    2 trainer              3 model type (1 unigram, 2 BPE, 3 word, 4 character)
    3 normaliser           1 name, 3 add a blank in front, 4 drop blanks that are too many, 5 blanks as U+2581
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

from bytegolf.data.piece_bytes import PieceType
from bytegolf.errors import DataError

_TYPES: dict[int, PieceType] = {
    1: "normal",
    2: "unknown",
    3: "control",
    4: "user_defined",
    5: "unused",
    6: "byte",
}
_NUMBERS = {name: number for number, name in _TYPES.items()}
_UNIGRAM, _BPE = 1, 2
_WIRE_NUMBER, _WIRE_64, _WIRE_BYTES, _WIRE_32 = 0, 1, 2, 5

Piece = tuple[str, PieceType]


def read_pieces(blob: bytes, where: object = None) -> list[Piece]:
    """Pieces and their types in the order of their ids.

    Raises DataError if the bytes are no model, the model is no BPE, or its normal pieces are not in the order of
    merging (their scores must fall from id to id), since that order is all that is kept of the scores.
    """
    try:
        fields = list(_fields(blob))
        found = [_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes)]
        trainer = b"".join(value for number, value in fields if number == 2 and isinstance(value, bytes))
        kind = int(dict(_fields(trainer)).get(3, _UNIGRAM))
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise DataError("the file must be a SentencePiece model", got=str(error), where=where) from error
    if not found:
        raise DataError("the file must be a SentencePiece model", got="no pieces", where=where)
    if kind != _BPE:
        raise DataError(
            "the SentencePiece model must be a BPE model",
            got=f"model type {kind}",
            where=where,
            fix="train it with model_type=bpe",
        )
    scores = [score for _, kind, score in found if kind == "normal"]
    falls = [a > b for a, b in pairwise(scores)]
    if not all(falls):
        at = falls.index(False)
        raise DataError(
            "the pieces of a BPE model must be in the order of merging: scores fall with the ids",
            got=f"normal piece {at} has {scores[at]:g}, the next one {scores[at + 1]:g}",
            where=where,
        )
    return [(piece, kind) for piece, kind, _ in found]


def write_model(pieces: Sequence[Piece]) -> bytes:
    """A BPE model with these pieces, scores that fall with the ids, and a normaliser that changes no character.

    Blanks become U+2581 and nothing is added or dropped.
    """
    rows = []
    for i, (piece, kind) in enumerate(pieces):
        name = piece.encode()
        score = struct.pack("<f", -float(i) if kind == "normal" else 0.0)
        rows.append(_bytes(1, _bytes(1, name) + _key(2, _WIRE_32) + score + _number(3, _NUMBERS[kind])))
    trainer = _number(3, _BPE)
    normaliser = _bytes(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    return b"".join(rows) + _bytes(2, trainer) + _bytes(3, normaliser)


def _piece(blob: bytes) -> tuple[str, PieceType, float]:
    fields = dict(_fields(blob))
    name, score = fields[1], fields.get(2, b"\0\0\0\0")
    if not isinstance(name, bytes) or not isinstance(score, bytes):
        raise ValueError("a piece with a field of another type")
    return name.decode(), _TYPES[int(fields.get(3, 1))], struct.unpack("<f", score)[0]


def _fields(blob: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field, in order. Raises ValueError and IndexError for what is no message."""
    at = 0
    while at < len(blob):
        key, at = _read_number(blob, at)
        number, wire = key >> 3, key & 7
        if wire == _WIRE_NUMBER:
            value, at = _read_number(blob, at)
            yield number, value
            continue
        if wire == _WIRE_BYTES:
            size, at = _read_number(blob, at)
        elif wire in (_WIRE_32, _WIRE_64):
            size = 4 if wire == _WIRE_32 else 8
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + size > len(blob):
            raise ValueError("a field beyond the end")
        yield number, blob[at : at + size]
        at += size


def _read_number(blob: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = blob[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")


def _write_number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _key(number: int, wire: int) -> bytes:
    return _write_number(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _key(number, _WIRE_NUMBER) + _write_number(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, _WIRE_BYTES) + _write_number(len(value)) + value
