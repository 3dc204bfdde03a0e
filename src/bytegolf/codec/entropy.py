"""Small whole numbers <-> bytes at their empirical entropy: one histogram, one range coder.

The coder is constriction's queue (first in, first out) with one static distribution a stream. Its output is
within 33 bits of the ideal code length of the stored histogram, at about 20 ns a symbol each way.

Layout of a symbol stream (`encode_symbols`); no symbols, no bytes:

    u8      total_log2 << 4 | golomb        total_log2 = 0: the uniform distribution over lo..hi, no table
    varint  first - lo                      the smallest symbol that occurs
    varint  last - first                    0: every symbol is `first`, and the stream ends here
    bits    last - first + 1 counts         padded with zeros to a byte
    u32le   words of the range coder

The counts are the histogram scaled to sum to 2^total_log2, at least 1 for a symbol that occurs; each is stored
as its difference from the one before (the first from 0), sign folded into the lowest bit, as an exp-Golomb
code of order `golomb`. The encoder takes the total and the order that make table plus payload smallest: a coarser
table is cheaper to store and dearer to use. A histogram of int6 codes costs 20 to 50 bytes in this way, 100 to 130
as varints. The probabilities are counts / 2^total_log2, exact in float32, the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache

import constriction
import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import ArtifactError

_TOTALS = range(1, 16)  # log2 of the sum of the stored counts; 4 bits in the blob
_ORDERS = np.arange(10)  # exp-Golomb orders tried; 4 bits in the blob
_MAX_ZEROS = 20  # leading zeros of the longest valid exp-Golomb code: folded differences stay below 2^17
_WORD_BITS = 32.0


def encode_symbols(symbols: NDArray[np.integer], lo: int, hi: int) -> bytes:
    """The bytes of `symbols` (any shape, read in row-major order), each within lo..hi inclusive.

    Cost: O(n) plus about a millisecond for the choice of the table.
    """
    if symbols.size == 0:
        return b""
    if hi - lo >= 1 << _TOTALS[-1]:
        raise ValueError(f"a range of {hi - lo + 1} symbols is too wide for the tables")
    flat = symbols.reshape(-1).astype(np.int32)
    low, high = int(flat.min()), int(flat.max())
    if not lo <= low <= high <= hi:
        raise ArtifactError(f"symbols must lie within {lo}..{hi}", got=f"{low}..{high}")
    span = _varint(low - lo) + _varint(high - low)
    if low == high:
        return bytes([_TOTALS[0] << 4]) + span
    histogram = np.bincount(flat - low, minlength=high - low + 1)
    total_log2, order, expected_bits = _cheapest_table(histogram)
    if expected_bits + 8 * len(span) >= flat.size * float(np.log2(hi - lo + 1)):
        uniform = np.ones(hi - lo + 1, dtype=np.int64)
        return b"\x00" + _encode_words(flat - lo, uniform)
    counts = _scale(histogram, total_log2)
    head = bytes([total_log2 << 4 | order]) + span + _write_table(counts, order)
    return head + _encode_words(flat - low, counts)


def decode_symbols(blob: bytes, n: int, lo: int, hi: int) -> NDArray[np.int32]:
    """The n symbols of `blob`, shape (n,), each within lo..hi. Allocates 4 bytes a symbol and the table.

    Raises ArtifactError when the blob is not one that `encode_symbols` writes for n symbols. Not all damage shows
    in this way, which is why the artifact keeps a checksum a tensor.
    """
    if n == 0:
        if blob:
            raise _damaged("bytes follow an empty stream")
        return np.zeros(0, dtype=np.int32)
    if not blob:
        raise _damaged("the stream is empty")
    total_log2, order = blob[0] >> 4, blob[0] & 15
    if total_log2 == 0:
        if order or hi == lo:
            raise _damaged("unknown table")
        return _decode_words(blob[1:], n, np.ones(hi - lo + 1, dtype=np.int64)) + np.int32(lo)
    offset, at = read_varint(blob, 1)
    span, at = read_varint(blob, at)
    if lo + offset + span > hi:
        raise _damaged("symbols outside their range")
    if span == 0:
        if at != len(blob):
            raise _damaged("bytes follow a constant stream")
        return np.full(n, lo + offset, dtype=np.int32)
    counts, at = _read_table(blob, at, span + 1, order, total_log2)
    return _decode_words(blob[at:], n, counts) + np.int32(lo + offset)


def coded_bits(histogram: NDArray[np.int64]) -> float:
    """About 8 len(encode_symbols) of symbols with this histogram, which covers lo..hi; within 32 bits of it.

    The choice of a table counts a whole last word; on average half of it is needed, and half a byte of padding.
    """
    last = _WORD_BITS / 2 + 4
    present = np.flatnonzero(histogram)
    low, high = int(present[0]), int(present[-1])
    span = 8 + 8 * varint_bytes(low) + 8 * varint_bytes(high - low)
    if low == high:
        return float(span)
    uniform = float(histogram.sum() * np.log2(len(histogram)))
    chosen = span + _cheapest_table(histogram[low : high + 1])[2] - _WORD_BITS
    return min(chosen, 8 + uniform) + last


def varint_bytes(value: int) -> int:
    """Bytes of an unsigned LEB128 number."""
    return max(1, -(-value.bit_length() // 7))


def encode_halves(halves: NDArray[np.uint16]) -> bytes:
    """The bytes of 16-bit words: one flag byte, then the smaller of raw (0) and two coded planes (1).

    Planes: varint length of the upper stream, the upper bytes as symbols 0..255, the lower bytes likewise. Close
    floats share their upper bytes, so that plane takes 1 to 4 bits a value instead of 8.
    """
    flat = halves.reshape(-1)
    upper, lower = encode_symbols(flat >> 8, 0, 255), encode_symbols(flat & 255, 0, 255)
    planes = _varint(len(upper)) + upper + lower
    return b"\x01" + planes if len(planes) < 2 * flat.size else b"\x00" + flat.astype("<u2").tobytes()


def decode_halves(blob: bytes, n: int) -> NDArray[np.uint16]:
    """The n words of `blob`, shape (n,). Raises ArtifactError when it is not one that `encode_halves` writes."""
    if blob[:1] == b"\x00" and len(blob) == 1 + 2 * n:
        return np.frombuffer(blob, dtype="<u2", offset=1).astype(np.uint16)
    if blob[:1] != b"\x01":
        raise _damaged("16-bit values of another number or kind")
    upper, lower = split_section(blob, 1)
    high, low = decode_symbols(upper, n, 0, 255), decode_symbols(lower, n, 0, 255)
    return (high << 8 | low).astype(np.uint16)


def join_section(section: bytes, rest: bytes) -> bytes:
    """`section`, preceded by its length as a varint, then `rest`."""
    return _varint(len(section)) + section + rest


def split_section(blob: bytes, at: int) -> tuple[bytes, bytes]:
    """The inverse of `join_section`, starting at byte `at`. Raises ArtifactError when the length is too large."""
    length, at = read_varint(blob, at)
    if length > len(blob) - at:
        raise _damaged("a section is longer than the blob")
    return blob[at : at + length], blob[at + length :]


def read_varint(blob: bytes, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number at byte `at`, below 2^35, and the position after it. Raises ArtifactError."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(blob):
            break
        byte, at = blob[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _damaged("a number does not end")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _damaged(why: str) -> ArtifactError:
    return ArtifactError("a blob of codes must be one that bytegolf wrote", got=why)


def _encode_words(indices: NDArray[np.int32], counts: NDArray[np.int64]) -> bytes:
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(np.ascontiguousarray(indices, dtype=np.int32), _model(counts.tobytes()))
    words: NDArray[np.uint32] = encoder.get_compressed()
    return words.astype("<u4").tobytes()


def _decode_words(payload: bytes, n: int, counts: NDArray[np.int64]) -> NDArray[np.int32]:
    if len(payload) % 4:
        raise _damaged("a payload of broken words")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(payload, dtype="<u4").astype(np.uint32))
    try:
        indices: NDArray[np.int32] = decoder.decode(_model(counts.tobytes()), n)
    except AssertionError as error:  # constriction's word for "no encoder wrote this"
        raise _damaged("a payload that does not fit its table") from error
    if not decoder.maybe_exhausted():
        raise _damaged("a payload that is longer than its symbols")
    return indices


@lru_cache(maxsize=8)
def _model(counts: bytes) -> constriction.stream.model.Categorical:
    """The coder's distribution; perfect=True costs a thousand times more and gains under 1e-3 bits a symbol."""
    frequencies = np.frombuffer(counts, dtype=np.int64)
    probabilities = (frequencies / frequencies.sum()).astype(np.float32)
    return constriction.stream.model.Categorical(probabilities, perfect=False)


def _scale(histogram: NDArray[np.int64], total_log2: int) -> NDArray[np.int64]:
    """`histogram` scaled to sum to 2^total_log2, at least 1 where it is not 0; needs as many slots as symbols.

    Integer arithmetic; the rounding error goes to the largest counts, where it costs least.
    """
    total, n = 1 << total_log2, int(histogram.sum())
    counts = np.maximum((histogram * total + n // 2) // n, histogram > 0)
    excess = int(counts.sum()) - total
    while excess:
        largest = int(counts.argmax())
        step = min(excess, max(1, int(counts[largest]) // 8)) if excess > 0 else excess
        counts[largest] -= step
        excess -= step
    return counts


def _cheapest_table(histogram: NDArray[np.int64]) -> tuple[int, int, float]:
    """(total_log2, exp-Golomb order, bits of table and payload) that make the whole stream smallest."""
    present = histogram > 0
    options: list[tuple[float, int, int]] = []
    for total_log2 in _TOTALS:
        if int(present.sum()) > 1 << total_log2:
            continue
        counts = _scale(histogram, total_log2)
        payload = -float(histogram[present] @ np.log2(counts[present] / 2.0**total_log2))
        shifted = (_fold(counts)[:, None] >> _ORDERS) + 1
        tables = np.sum(2 * np.frexp(shifted)[1] - 1 + _ORDERS, axis=0)
        order = int(tables.argmin())
        options.append((float(tables[order]) + payload + _WORD_BITS, total_log2, order))
    bits, total_log2, order = min(options)
    return total_log2, order, bits


def _fold(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Differences of neighbouring counts as 0, 1, 2, ... for 0, -1, 1, -2, 2, ..."""
    differences = np.diff(counts, prepend=0)
    folded: NDArray[np.int64] = np.where(differences < 0, -2 * differences - 1, 2 * differences)
    return folded


def _write_table(counts: NDArray[np.int64], order: int) -> bytes:
    """Exp-Golomb of order k: v + 2^k in binary, preceded by one zero for each of its bits beyond k + 1."""
    codes = (int(value) + (1 << order) for value in _fold(counts))
    bits = "".join("0" * (code.bit_length() - order - 1) + format(code, "b") for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _read_table(
    blob: bytes, at: int, size: int, order: int, total_log2: int
) -> tuple[NDArray[np.int64], int]:
    """`size` counts from byte `at`, and the position after them; ArtifactError unless they sum to the total."""
    longest = size * (2 * _MAX_ZEROS + order + 1)
    bits = "".join(format(byte, "08b") for byte in blob[at : at + (longest + 7) // 8])
    counts, place, count = np.zeros(size, dtype=np.int64), 0, 0
    for index in range(size):
        one = bits.find("1", place, place + _MAX_ZEROS)
        end = 2 * one - place + order + 1
        if one < 0 or end > len(bits):
            raise _damaged("a table of counts that does not end")
        folded = int(bits[one:end], 2) - (1 << order)
        count += -(folded + 1 >> 1) if folded & 1 else folded >> 1
        if not 0 <= count <= 1 << total_log2:
            raise _damaged("a count outside its range")
        counts[index], place = count, end
    if int(counts.sum()) != 1 << total_log2:
        raise _damaged("counts that do not sum to their total")
    return counts, at + (place + 7) // 8
