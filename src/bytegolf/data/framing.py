"""The form that every tokenizer has as bytes: one JSON line with its kind, a payload, a CRC-32 of both."""

from __future__ import annotations

import json
import zlib
from typing import Any

from bytegolf.errors import DataError

_MAX_HEAD_BYTES = 8192  # room for the longest pattern of a tokenizer, however JSON spells it


def frame(head: dict[str, object], payload: bytes) -> bytes:
    """The bytes of a tokenizer: the same for equal heads and payloads."""
    line = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    body = line + b"\n" + payload
    return body + zlib.crc32(body).to_bytes(4, "little")


def unframe(blob: bytes, kind: str, fields: set[str]) -> tuple[dict[str, Any], bytes]:
    """Head and payload of a tokenizer of this kind. Raises DataError unless the head has just these fields."""
    head = read_head(blob)
    if head.keys() != fields | {"kind"} or head["kind"] != kind:
        raise damaged(f"a head with {', '.join(sorted(head))}")
    return head, blob[blob.index(b"\n") + 1 : -4]


def read_head(blob: bytes) -> dict[str, Any]:
    """The head, of any kind. Raises DataError for bytes that are no tokenizer or a damaged one."""
    end = blob.find(b"\n", 0, _MAX_HEAD_BYTES)
    if end < 0 or zlib.crc32(blob[:-4]) != int.from_bytes(blob[-4:], "little"):
        raise damaged(f"{len(blob)} bytes with a wrong checksum")
    try:
        head = json.loads(blob[:end])
    except (ValueError, RecursionError) as error:
        raise damaged(str(error)) from error
    if not isinstance(head, dict) or not isinstance(head.get("kind"), str):
        raise damaged("a head without a kind")
    return head


def damaged(got: str) -> DataError:
    """The error for bytes that no tokenizer wrote."""
    return DataError("the tokenizer must be whole and unaltered", got=got, fix="build the dataset again")
