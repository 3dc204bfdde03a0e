"""Where the bits of a score went: document by document, and by how many tokens a target could see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.config.schema import Score as Settings
from bytegolf.numeric.windows import Window, document_window, plan


@dataclass(frozen=True)
class Breakdown:
    """Nats and bytes of the same targets, twice.

    document_nats, document_bytes (D,): of each document, with the BOS that ends it. seen_nats, seen_bytes,
    seen_targets (K,): of the targets with 2^k to 2^(k+1) - 1 tokens before them in their window. Both sum to the
    score: nats to its nats, bytes to its bytes.
    """

    document_nats: NDArray[np.float64]
    document_bytes: NDArray[np.int64]
    seen_nats: NDArray[np.float64]
    seen_bytes: NDArray[np.int64]
    seen_targets: NDArray[np.int64]


def broken_down(
    nats: NDArray[np.float64], counts: NDArray[np.integer], starts: Sequence[int], settings: Settings
) -> Breakdown:
    """nats (n - 1,): the cost of every target; counts (n,): bytes of every token; starts: of the documents."""
    n_bytes = counts[1:].astype(np.int64)
    bucket = np.log2(_seen(len(nats), starts, settings)).astype(np.int64)
    return Breakdown(
        document_nats=np.add.reduceat(nats, starts),
        document_bytes=np.add.reduceat(n_bytes, starts),
        seen_nats=np.bincount(bucket, nats).astype(np.float64),
        seen_bytes=np.bincount(bucket, n_bytes).astype(np.int64),
        seen_targets=np.bincount(bucket),
    )


def _seen(targets: int, starts: Sequence[int], settings: Settings) -> NDArray[np.int64]:
    """Tokens before each target in the window that scores it, (targets,), at least 1."""
    seen = np.empty(targets, np.int64)
    for window in _windows(targets, starts, settings):
        scored = np.arange(window.first_scored, window.end)
        seen[window.first_scored : window.end] = scored - window.start + 1
    return seen


def _windows(targets: int, starts: Sequence[int], settings: Settings) -> Iterator[Window]:
    kind = settings.adaptation
    if not isinstance(kind, LoraAdaptation):
        borders = starts if settings.documents == "isolated" else (0,)
        yield from plan(targets, settings.context, settings.stride, borders)
        return
    for begin, stop in pairwise([*starts, targets]):
        for number in range(-(-(stop - begin) // kind.chunk)):
            w = document_window(number, kind.chunk, settings.context)
            yield Window(begin + w.start, min(begin + w.end, stop), begin + w.first_scored)
