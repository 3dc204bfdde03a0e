"""Capital letters apart from the words: "Hello" becomes an operator and "hello", without loss.

A model that reads `The`, `the` and `THE` as one word under different operators learns the word once. The text is
raw bytes; letters are the ASCII letters, and every other byte is copied. Three operators stand before a byte:

    CAP     the letter that follows is a capital       Hello       CAP hello
    UPPER   the run of letters that follows is, whole  HTTP        UPPER http
    ESCAPE  the byte that follows is no operator       \\x0e        ESCAPE \\x0e

A capital before a small letter begins a word of its own (HTTPServer: UPPER http CAP server); of the other capitals
two or more in a row take UPPER and one alone takes CAP. (Parameter Golf, PR 1729.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bytegolf.errors import DataError

CAP, UPPER, ESCAPE = 0x0E, 0x0F, 0x10  # SO, SI and DLE (data link escape): no text has a use for them

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_SMALL = 0x20  # the bit that a small letter has and its capital has not


def split_case(data: bytes) -> bytes:
    """`data` without capital letters: each is a small one behind an operator, and operator bytes are escaped.

    Cost: about 30 ms per MB, 20 bytes of memory per byte.
    """
    text = np.frombuffer(data, dtype=np.uint8)
    capital = _between(text, "A", "Z")
    before_small = capital & _next(_between(text, "a", "z"))
    shouted = capital & ~before_small
    first = shouted & ~_previous(shouted)
    run = first & _next(shouted)
    escaped = (text >= CAP) & (text <= ESCAPE)
    operator = np.zeros(len(text), dtype=np.uint8)
    operator[before_small | first] = CAP
    operator[run] = UPPER
    operator[escaped] = ESCAPE
    at = np.flatnonzero(operator)
    return np.insert(np.where(capital, text | _SMALL, text), at, operator[at]).tobytes()


def join_case(data: bytes) -> bytes:
    """The inverse of `split_case`, for exactly the bytes that it writes.

    Raises DataError for any other bytes: an operator without what it works on, a capital letter, an escape before
    a byte that needs none, an operator where `split_case` writes another. Cost: about 0.1 s per MB.
    """
    text = join_leniently(data)
    again = split_case(text)
    if again != data:
        at = _first_difference(again, data)
        raise DataError(
            "text with case operators must be what the case split writes",
            got=f"{data[at : at + 8]!r} at byte {at}, where it would write {again[at : at + 8]!r}",
            fix="decode whole documents, from their first token to their last",
        )
    return text


def join_leniently(data: bytes) -> bytes:
    """`join_case` without its rule, for text that a model made up: any bytes are taken.

    An operator that is followed by nothing to work on is dropped, and every other byte gives one byte. What it
    gives depends on the bytes before it alone, so the result for a prefix is a prefix of the result.
    """
    text = np.frombuffer(data, dtype=np.uint8)
    operators = operators_in_force(data)
    letter = _between(text, "a", "z")
    index = np.arange(len(text))
    behind = np.maximum.accumulate(np.where(letter, -1, index)) if len(text) else index
    upper = np.append(operators & (text == UPPER), False)  # index -1: no byte stands before the run
    raised = letter & (_previous(operators & (text == CAP)) | upper[behind])
    return np.where(raised, text ^ _SMALL, text)[~operators].tobytes()


def operators_in_force(data: bytes) -> Mask:
    """Which bytes are operators, (n,): those of the three values that no ESCAPE stands before.

    In a row of ESCAPE bytes every second one is escaped.
    """
    text = np.frombuffer(data, dtype=np.uint8)
    escape = text == ESCAPE
    index = np.arange(len(text))
    before_row = np.maximum.accumulate(np.where(escape, -1, index)) if len(text) else index
    escape &= (index - before_row) % 2 == 1
    force: Mask = escape | (((text == CAP) | (text == UPPER)) & ~_previous(escape))
    return force


def pending(data: bytes) -> bytes:
    """The operator that still works on what may follow `data`: one byte, or none.

    `join_leniently(a + b)` is `join_leniently(a) + join_leniently(pending(a) + b)`.
    """
    operators = operators_in_force(data)
    if len(data) and operators[-1]:
        return data[-1:]
    word = data.rstrip(b"abcdefghijklmnopqrstuvwxyz")
    at = len(word) - 1
    return data[at : at + 1] if at >= 0 and operators[at] and word[at] == UPPER else b""


def _between(text: Bytes, first: str, last: str) -> Mask:
    mask: Mask = (text >= ord(first)) & (text <= ord(last))
    return mask


def _previous(mask: Mask) -> Mask:
    return np.concatenate([[False], mask[:-1]]) if len(mask) else mask


def _next(mask: Mask) -> Mask:
    return np.concatenate([mask[1:], [False]]) if len(mask) else mask


def _first_difference(a: bytes, b: bytes) -> int:
    for at, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return at
    return min(len(a), len(b))
