"""The tokenizer blobs of .golf files in plain Python, written from docs/format.md; goes with golf_reader.py."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from reference.golf_reader import TOKENIZERS, GolfError, need, whole

BOS = 0
BOUNDARIES = {"control", "unknown", "unused"}
CAP, UPPER, ESCAPE = 0x0E, 0x0F, 0x10


@dataclass(frozen=True)
class Tokenizer:
    """pieces[id] are the bytes of an id, none for BOS. types: of the ids of a `sentencepiece`, else none."""

    kind: str
    pieces: list[bytes]
    types: tuple[str, ...] = ()


def decode_tokenizer(blob: bytes) -> Tokenizer:
    """The tokenizer of a blob, whatever its kind."""
    head, payload = read_head(blob)
    kind = head.get("kind")
    if kind == "bpe":
        need(set(head) == {"kind", "merges", "pattern"}, "tokenizer: head")
        need(isinstance(head["pattern"], str) and len(head["pattern"]) <= 1000, "tokenizer: head")
        need(whole(head["merges"], 0, 65_279), "tokenizer: head")
        return Tokenizer("bpe", [b"", *read_merges(payload, head["merges"])])
    if kind == "sentencepiece":
        need(set(head) == {"kind", "types"}, "tokenizer: head")
        types = read_types(head["types"])
        return Tokenizer("sentencepiece", read_written(payload, types), types)
    need(set(head) == {"kind"} and kind in TOKENIZERS, "tokenizer: head")
    if kind == "bytes":
        need(not payload, "tokenizer: a payload")
        return Tokenizer("bytes", [b"", *(bytes([value]) for value in range(256))])
    inner = decode_tokenizer(payload)
    need(inner.kind == "bpe", "tokenizer: another one within")
    return Tokenizer("case_bpe", inner.pieces)


def read_head(blob: bytes) -> tuple[dict[str, Any], bytes]:
    end = blob.find(b"\n", 0, 8192)
    need(end >= 0 and blob[-4:] == zlib.crc32(blob[:-4]).to_bytes(4, "little"), "tokenizer: checksum")
    try:
        head = json.loads(blob[:end])
    except (ValueError, RecursionError) as error:
        raise GolfError("tokenizer: head") from error
    need(isinstance(head, dict) and isinstance(head.get("kind"), str), "tokenizer: head")
    return head, blob[end + 1 : -4]


def read_types(runs: Any) -> tuple[str, ...]:
    """The type of every id."""
    types: list[str] = []
    need(isinstance(runs, list), "tokenizer: types")
    for run in runs:
        need(isinstance(run, list) and len(run) == 2 and whole(run[1], 1, 65_536), "tokenizer: types")
        need(run[0] in ("normal", "user_defined", "byte", *BOUNDARIES), "tokenizer: types")
        need(not types or types[-1] != run[0], "tokenizer: two runs that are one")
        types += [run[0]] * run[1]
        need(len(types) <= 65_536, "tokenizer: too many ids")
    need(types[1:2] == ["control"] and types.count("unknown") == 1, "tokenizer: BOS or unknown")
    need(len(types) >= 4 and types.count("byte") in (0, 256), "tokenizer: bytes")
    if "byte" not in types:
        room = types[4:260]
        fine = types[0] == "control" and len(room) == 256 and not BOUNDARIES & set(room)
        need(fine, "tokenizer: no way to write bytes")
    return tuple(types)


def read_written(payload: bytes, types: tuple[str, ...]) -> list[bytes]:
    """The bytes of every id behind an ordinary one."""
    texts, at = [], 0
    while at < len(payload):
        text = payload[at + 1 : at + 1 + payload[at]]
        need(len(text) == payload[at] > 0, "tokenizer: length of a piece")
        try:
            written = text.decode().replace(" ", "\u2581")
        except UnicodeDecodeError as error:
            raise GolfError("tokenizer: a piece that is no UTF-8") from error
        need("\u2581" not in text.decode() and len(written.encode()) <= 255, "tokenizer: a piece")
        texts.append(
            written.replace("\u2581", " ", 1).encode() if written[0] == "\u2581" else written.encode()
        )
        at += 1 + len(text)
    need(len(set(texts)) == len(texts), "tokenizer: a piece twice")
    need(not texts or b" " in texts, "tokenizer: no lone blank")
    written_ids = [i for i, kind in enumerate(types) if kind in ("normal", "user_defined")]
    need(len(written_ids) == len(texts), "tokenizer: number of pieces")
    pieces = [b""] * len(types)
    for i, piece in zip(written_ids, texts, strict=True):
        pieces[i] = piece
    for value, i in enumerate(i for i, kind in enumerate(types) if kind == "byte"):
        pieces[i] = bytes([value])
    return pieces


def join_pieces(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    """A blank in front of a piece is dropped behind a boundary; padding escapes where there are no byte pieces."""
    out, escapes = b"", "byte" not in tokenizer.types
    for before, i in zip([1, *ids], ids, strict=False):
        piece = tokenizer.pieces[i]
        if escapes and before == 0 and 4 <= i < 260:
            piece = bytes([i - 4])
        elif tokenizer.types[i] != "byte" and tokenizer.types[before] in BOUNDARIES:
            piece = piece.removeprefix(b" ")
        out += piece
    return out


def read_merges(payload: bytes, merges: int) -> list[bytes]:
    """The pieces, from piece 0."""
    pieces = [bytes([value]) for value in range(256)]
    known = set(pieces)
    widths = [(255 + k).bit_length() for k in range(merges)]
    need(len(payload) == (2 * sum(widths) + 7) // 8, "tokenizer: length of its merges")
    bits = "".join(f"{byte:08b}" for byte in payload)
    at = 0
    for width in widths:
        left, right = int(bits[at : at + width], 2), int(bits[at + width : at + 2 * width], 2)
        at += 2 * width
        need(max(left, right) < len(pieces), "tokenizer: a merge of pieces to come")
        piece = pieces[left] + pieces[right]
        need(len(piece) <= 128 and piece not in known, "tokenizer: a piece too long, or twice")
        pieces.append(piece)
        known.add(piece)
    need("1" not in bits[at:], "tokenizer: bits behind the last merge")
    return pieces


def decode_ids(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    """The bytes of the ids of whole documents."""
    need(all(0 <= i < len(tokenizer.pieces) for i in ids), "tokenizer: an id beyond the vocabulary")
    if tokenizer.kind == "sentencepiece":
        return join_pieces(tokenizer, ids)
    if tokenizer.kind != "case_bpe":
        return b"".join(tokenizer.pieces[i] for i in ids)
    starts = list(accumulate(i == BOS for i in ids))
    documents = [
        b"".join(tokenizer.pieces[i] for i, start in zip(ids, starts, strict=True) if start == number)
        for number in range(max(starts, default=0) + 1)
    ]
    texts = [join_case(document) for document in documents]
    need(list(map(split_case, texts)) == documents, "tokenizer: a document that is not whole")
    return b"".join(texts)


def join_case(data: bytes) -> bytes:
    """Split text -> text; an operator with nothing to work on is dropped."""
    out, before = bytearray(), 0
    escaped = False
    for byte in data:
        letter = 97 <= byte <= 122 and not escaped
        if not escaped and CAP <= byte <= ESCAPE:
            before, escaped = byte, byte == ESCAPE
            continue
        out.append(byte - 32 if letter and before in (CAP, UPPER) else byte)
        before = UPPER if letter and before == UPPER else 0
        escaped = False
    return bytes(out)


def split_case(text: bytes) -> bytes:
    """Text -> split text: single capitals, runs of capitals and the three operator bytes."""

    def mark(found: re.Match[bytes]) -> bytes:
        part = found.group()
        if not part.isalpha():
            return bytes([ESCAPE]) + part
        return bytes([UPPER if len(part) > 1 else CAP]) + part.lower()

    return re.sub(rb"[A-Z](?=[a-z])|(?:[A-Z](?![a-z]))+|[\x0e-\x10]", mark, text)
