"""Which tokens a model reads and which targets it is charged for, so that every target is charged once.

Target t is token t + 1, predicted from the tokens before it. With T targets, context S and stride s:

    block 0     targets [0, min(S, T))                    inputs [0, ..) up to the block's last target
    block k     targets [S + (k-1) s, min(S + k s, T))    inputs [k s, ..)            k = 1, 2, ...

Number of windows: 1 + ceil(max(0, T - S) / s). A window begins where it does if the text goes on, so no score
depends on where the text ends. Isolated documents are planned one by one, each as a text of its own: a document's
targets are its tokens after BOS and the BOS that follows it. stride = context is the form without overlap. Of the
four enumerations in use among the published Parameter Golf records, two score the last targets several times and
two leave some out; here the blocks partition the targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bytegolf.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Window:
    """One forward: inputs tokens[start:end], targets tokens[start+1:end+1], charged for first_scored..end-1.

    Positions are absolute. The window's own rows first_scored - start .. end - start - 1 carry the score.
    """

    start: int
    end: int
    first_scored: int


def plan(targets: int, context: int, stride: int, starts: Sequence[int] = (0,)) -> Iterator[Window]:
    """The windows that score `targets` targets, in order. No targets, no windows.

    starts: where texts of their own begin, ascending from 0; no window reaches across one. Raises ConfigError, at
    the call, unless 1 <= stride <= context. Cost: windows * context token-forwards.
    """
    if not 1 <= stride <= context:
        raise ConfigError(
            "a stride must be at least 1 and at most the context",
            got=f"stride {stride}, context {context}",
            fix=f"choose a stride from 1 to {max(context, 1)}; the context itself is the cheapest",
        )
    return _windows([*starts, targets], context, stride)


def _windows(borders: Sequence[int], context: int, stride: int) -> Iterator[Window]:
    for begin, stop in pairwise(borders):
        first, start = begin, begin
        while first < stop:
            end = min(start + context, stop)
            yield Window(start, end, first)
            first, start = end, start + stride


def document_window(number: int, chunk: int, context: int) -> Window:
    """Which tokens of a document score its chunk `number`: as many as the context holds, up to the chunk's end.

    The published record lets the window of a last, short chunk begin `context` tokens before the document's end.
    Here it begins where that of a full chunk does, or it would tell how long the document is.
    """
    end = (number + 1) * chunk
    return Window(max(0, end - context), end, number * chunk)
