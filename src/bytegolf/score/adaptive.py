"""Scoring with test-time training: a chunk is scored, its costs are written, and only then is it learnt from.

The cost of a target depends on the tokens before it alone, not on where the text ends: windows and chunks are
those of a text that goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.model.backend import Adapter, Backend, DocumentAdapter, Ids
from bytegolf.model.scored import Scored, Scores
from bytegolf.model.world import ALONE, World
from bytegolf.numeric.windows import Window, document_window, plan
from bytegolf.score.passes import Report, See, nothing, score_windows, unseen

Span = tuple[int, int]  # targets [first, end) of a document


def adaptive_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    context: int,
    stride: int,
    adaptation: FullWeights,
    *,
    starts: Sequence[int] = (0,),
    report: Report = nothing,
    keep: Collection[int] = (),
    see: See = unseen,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:] while the weights learn from every chunk but the last.

    starts, report, keep, see: as in score.passes.target_nats. Chunks are those of the stream, wherever documents
    start. On leaving, the backend has its own weights again. Raises ConfigError for a stride beyond the context or
    words of `freeze` that fit nothing, TrainingDivergedError when a loss is not finite. Cost: that of
    the pass without adaptation, more windows where chunks cut them, and 3 * epochs token forwards per target.
    """
    ids = np.asarray(tokens, np.int64)
    book = Scores(ids)
    windows = cut(plan(book.targets, context, stride, starts), adaptation.chunk)
    with backend.adapter(adaptation) as adapter:
        for _, group in groupby(windows, key=lambda w: w.first_scored // adaptation.chunk):
            scored = _score_chunk(adapter, book, ids, list(group), keep, see)
            if scored.end < book.targets:
                adapter.adapt(scored)
            report(scored.end / book.targets)
    return book.complete()


def cut(windows: Iterable[Window], chunk: int) -> Iterator[Window]:
    """The same windows, so that none is charged for targets of two chunks; a window keeps where it starts."""
    for window in windows:
        first = window.first_scored
        while first < window.end:
            end = min(window.end, (first // chunk + 1) * chunk)
            yield Window(window.start, end, first)
            first = end


def _score_chunk(
    adapter: Adapter, book: Scores, ids: Ids, windows: list[Window], keep: Collection[int], see: See
) -> Scored:
    """Score a chunk by its windows, all with the same weights."""
    first, end = windows[0].first_scored, windows[-1].end
    chunk = np.full(end - first, np.nan)

    def write(target: int, nats: NDArray[np.floating]) -> None:
        chunk[target - first : target - first + len(nats)] = nats

    score_windows(adapter, ids, windows, write, [t for t in keep if first <= t < end], see)
    return book.write(first, chunk)


def document_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    starts: Sequence[int],
    context: int,
    adaptation: LoraAdaptation,
    report: Report = nothing,
    keep: Collection[int] = (),
    see: See = unseen,
    world: World = ALONE,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:] while each document learns from its own chunks but its last.

    starts: where documents begin, ascending from 0. A document's targets are the tokens after its BOS up to the
    next BOS, which is one of them. Documents know nothing of each other, so some of similar length go through the
    network together. keep, see, world: as in score.passes.target_nats. Raises ConfigError for unknown parts and a
    chunk beyond the context. Cost: context / chunk token forwards per target to score it, and 3 * steps times that
    to learn from it.
    """
    ids = np.asarray(tokens, np.int64)
    book = Scores(ids)
    adapter = backend.document_adapter(adaptation, context)
    spans = sorted(
        pairwise([*starts, book.targets] if book.targets else []), key=lambda span: span[1] - span[0]
    )
    for i in range(world.rank * adaptation.documents, len(spans), world.size * adaptation.documents):
        group = spans[i : i + adaptation.documents]
        adapter.begin(len(group))
        longest = group[-1][1] - group[-1][0]
        for number in range(-(-longest // adaptation.chunk)):
            window = document_window(number, adaptation.chunk, context)
            _score_documents(adapter, book, ids, group, window, keep, see)
            report(min(1.0, book.written * world.size / book.targets))
    return book.complete(world)


def _score_documents(
    adapter: DocumentAdapter,
    book: Scores,
    ids: Ids,
    group: list[Span],
    window: Window,
    keep: Collection[int],
    see: See,
) -> None:
    """Score one chunk of every document that has it, and learn from those that go on behind it."""
    alive = [d for d, (first, end) in enumerate(group) if end - first > window.first_scored]
    stop = min(window.end, max(end - first for first, end in (group[d] for d in alive)))
    # Behind the end of a shorter document stand zeros: nothing before it sees them.
    rows = np.zeros((len(alive), stop - window.start + 1), np.int64)
    for row, d in zip(rows, alive, strict=True):
        first, end = group[d]
        text = ids[first + window.start : min(first + stop, end) + 1]
        row[: len(text)] = text
    last = stop - window.first_scored
    nats = adapter.nll(rows[:, :-1], rows[:, 1:], alive, last)
    graded = {}
    for row, costs, d in zip(rows, nats, alive, strict=True):
        first, end = group[d]
        scored = book.write(first + window.first_scored, costs[: end - first - window.first_scored])
        kept = [t for t in keep if scored.first <= t < scored.end]
        if kept:
            log_p = adapter.log_probabilities(row[None, :-1], [d], last)[0].astype(np.float64)
            for t in kept:
                see(t, np.exp(log_p[t - scored.first]))
        if scored.end < end:
            graded[d] = scored
    if graded:
        adapter.adapt(graded)
