"""Which tokens a model reads and which targets it is charged for, so that every target is charged once.

Target t is token t + 1, predicted from the tokens before it. With T targets, context S and stride s:

    block 0     targets [0, min(S, T))
    block k     targets [S + (k-1) s, min(S + k s, T))              k = 1, 2, ...
    window      inputs  [max(0, end - S), end)                      of the block that ends at target `end`

Number of windows: 1 + ceil(max(0, T - S) / s). Of the four enumerations in use among the published Parameter Golf
records, two score the last targets several times and two leave some out; here the blocks partition the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bytegolf.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Window:
    """One forward: inputs tokens[start:end], targets tokens[start+1:end+1], charged for first_scored..end-1.

    Positions are absolute. The window's own rows first_scored - start .. end - start - 1 carry the score.
    """

    start: int
    end: int
    first_scored: int


def plan(targets: int, context: int, stride: int) -> Iterator[Window]:
    """The windows that score `targets` targets, in order. No targets, no windows.

    Raises ConfigError, at the call, unless 1 <= stride <= context. Cost: windows * context token-forwards.
    """
    if not 1 <= stride <= context:
        raise ConfigError(
            "a stride must be at least 1 and at most the context",
            got=f"stride {stride}, context {context}",
            fix=f"choose a stride from 1 to {max(context, 1)}; the context itself is the cheapest",
        )
    return _windows(targets, context, stride)


def _windows(targets: int, context: int, stride: int) -> Iterator[Window]:
    first = 0
    while first < targets:
        end = min(first + (stride if first else context), targets)
        yield Window(max(0, end - context), end, first)
        first = end
