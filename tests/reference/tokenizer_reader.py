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
CAP, UPPER, ESCAPE = 0x0E, 0x0F, 0x10


@dataclass(frozen=True)
class Tokenizer:
    """pieces[id] are the bytes of an id, none for BOS."""

    kind: str
    pieces: list[bytes]


def decode_tokenizer(blob: bytes) -> Tokenizer:
    """The tokenizer of a blob, whatever its kind."""
    head, payload = read_head(blob)
    kind = head.get("kind")
    if kind == "bpe":
        need(set(head) == {"kind", "merges", "pattern"}, "tokenizer: head")
        need(isinstance(head["pattern"], str) and len(head["pattern"]) <= 1000, "tokenizer: head")
        need(whole(head["merges"], 0, 65_279), "tokenizer: head")
        return Tokenizer("bpe", [b"", *read_merges(payload, head["merges"])])
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
