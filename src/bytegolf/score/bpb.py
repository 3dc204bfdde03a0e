"""Bits per byte of held-out text: every target scored once, over the bytes of the raw text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import DataError
from bytegolf.model.backend import Backend
from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.score.windows import Window, plan

# Positions in one forward pass: enough to fill the machine, small enough for its memory.
TOKENS_PER_BATCH = 16_384


@dataclass(frozen=True)
class Score:
    """bpb = nats / (ln 2 * bytes). The first token of the stream is given; every later one is a target.

    A document's BOS is a target like any other and has no bytes: its cost counts, so that documents are paid
    for. seconds: of the scoring alone. context, stride: of the sliding window (tokens).
    """

    bpb: float
    nats_per_token: float
    targets: int
    bytes: int
    documents: int
    context: int
    stride: int
    seconds: float
    text_sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score(
    backend: Backend,
    tokens: NDArray[np.uint16],
    *,
    n_bytes: int,
    documents: int,
    text_sha256: str,
    context: int,
    stride: int,
    report: Callable[[float], None] = lambda share: None,
) -> Score:
    """Score a token stream whose text has `n_bytes` bytes and the given sha256. `report` gets the share done.

    Raises DataError when there is nothing to score. Cost: about targets * context / stride token forwards.
    """
    if len(tokens) < 2 or n_bytes < 1:
        raise DataError(
            "a score needs at least one target and one byte", got=f"{len(tokens)} tokens, {n_bytes} bytes"
        )
    start = time.perf_counter()
    nats = target_nats(backend, tokens, context, stride, report)
    total = math.fsum(nats)
    return Score(
        bpb=bits_per_byte(total, n_bytes),
        nats_per_token=total / len(nats),
        targets=len(nats),
        bytes=n_bytes,
        documents=documents,
        context=context,
        stride=stride,
        seconds=time.perf_counter() - start,
        text_sha256=text_sha256,
    )


def target_nats(
    backend: Backend,
    tokens: NDArray[np.uint16],
    context: int,
    stride: int,
    report: Callable[[float], None] = lambda share: None,
) -> NDArray[np.float64]:
    """Negative log-likelihood (targets,) in nats of tokens[1:]; each is written exactly once or this fails."""
    ids = np.asarray(tokens, np.int64)
    targets = len(ids) - 1
    nats = np.full(targets, np.nan)
    written = 0
    for group in _batches(targets, context, stride):
        inputs = np.stack([ids[w.start : w.end] for w in group])
        wanted = np.stack([ids[w.start + 1 : w.end + 1] for w in group])
        for window, row in zip(group, backend.nll(inputs, wanted), strict=True):
            block = slice(window.first_scored, window.end)
            assert np.isnan(nats[block]).all(), "a target may be scored only once"
            nats[block] = row[window.first_scored - window.start :]
            written += window.end - window.first_scored
        report(written / targets)
    assert written == targets, "every target must be scored"
    return nats


def _batches(targets: int, context: int, stride: int) -> Iterator[list[Window]]:
    """Neighbouring windows of equal length, together at most TOKENS_PER_BATCH positions."""
    group: list[Window] = []
    for window in plan(targets, context, stride):
        length = window.end - window.start
        full = group and (len(group) + 1) * length > TOKENS_PER_BATCH
        if group and (full or group[0].end - group[0].start != length):
            yield group
            group = []
        group.append(window)
    if group:
        yield group
