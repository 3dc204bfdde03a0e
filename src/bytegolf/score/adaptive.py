"""Scoring with test-time training: a chunk is scored, its costs are written, and only then is it learnt from.

The cost of a target depends on the tokens before it alone, not on where the text ends: windows and chunks are
those of an endless text, cut where it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.model.backend import Adapter, Backend, DocumentAdapter, Ids
from bytegolf.model.scored import Scored, Scores
from bytegolf.score.windows import Window, plan

Report = Callable[[float], None]
Span = tuple[int, int]  # targets [first, end)

# Positions in one forward pass: enough to fill the machine, small enough for its memory.
TOKENS_PER_BATCH = 16_384


def adaptive_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    context: int,
    stride: int,
    adaptation: FullWeights,
    *,
    starts: Sequence[int] | None = None,
    report: Report = lambda share: None,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:] while the weights learn from every chunk but the last.

    The sliding window of score/windows.py; with `starts`, the tokens that begin documents, no window reaches back
    beyond the start of its document. Chunks are those of the stream in both cases. Raises ConfigError for a stride
    beyond the context. Cost: that of the pass without adaptation, and 3 * epochs token forwards per target.
    """
    ids = np.asarray(tokens, np.int64)
    book = Scores(ids)
    every = windows(book.targets, context, stride, starts)
    with backend.adapter(adaptation) as adapter:
        of_chunk = groupby(cut(every, adaptation.chunk), key=lambda w: w.first_scored // adaptation.chunk)
        for _, group in of_chunk:
            scored = _score(adapter, book, ids, list(group))
            if scored.end < book.targets:
                adapter.adapt(scored)
            report(scored.end / book.targets)
    return book.complete()


def windows(targets: int, context: int, stride: int, starts: Sequence[int] | None = None) -> Iterator[Window]:
    """The windows of a stream, or of each document of it, as an endless text has them, cut at its end."""
    for first, end in _spans(() if starts is None else starts, targets):
        for window in plan(end - first + context, context, stride):
            if window.first_scored >= end - first:
                break
            stop = min(window.end, end - first)
            yield Window(first + window.start, first + stop, first + window.first_scored)


def _spans(starts: Sequence[int], targets: int) -> Iterator[Span]:
    """Targets between one start and the next; what stands before the first start is a document too."""
    return pairwise(sorted({0, targets, *(start for start in starts if start < targets)}))


def cut(every: Iterable[Window], chunk: int) -> Iterator[Window]:
    """The same windows, so that none is charged for targets of two chunks; a window keeps where it starts."""
    for window in every:
        first = window.first_scored
        while first < window.end:
            end = min(window.end, (first // chunk + 1) * chunk)
            yield Window(window.start, end, first)
            first = end


def _score(adapter: Adapter, book: Scores, ids: Ids, group: list[Window]) -> Scored:
    """Score one chunk by its windows, all with the same weights."""
    first = group[0].first_scored
    nats = np.full(group[-1].end - first, np.nan)
    for batch in _batches(group):
        last = max(w.end - w.first_scored for w in batch)
        inputs = np.stack([ids[w.start : w.end] for w in batch])
        wanted = np.stack([ids[w.start + 1 : w.end + 1] for w in batch])
        for window, row in zip(batch, adapter.nll(inputs, wanted, last), strict=True):
            nats[window.first_scored - first : window.end - first] = row[
                last - (window.end - window.first_scored) :
            ]
    return book.write(first, nats)


def _batches(group: list[Window]) -> Iterator[list[Window]]:
    """Neighbours of equal length, together at most TOKENS_PER_BATCH positions or one window."""
    for length, alike in groupby(group, key=lambda w: w.end - w.start):
        batch = list(alike)
        at_once = max(1, TOKENS_PER_BATCH // length)
        yield from (batch[i : i + at_once] for i in range(0, len(batch), at_once))


def document_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    bos_id: int,
    context: int,
    adaptation: LoraAdaptation,
    report: Report = lambda share: None,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:] while each document learns from its own chunks but its last.

    A document's targets are the tokens after its BOS up to the next BOS, which is one of them; what stands before
    the first BOS is a document too. Documents know nothing of each other, so some of similar length go through the
    network together. Raises ConfigError for a chunk beyond the context. Cost: context / chunk token forwards per
    target to score it, and 3 * steps times that to learn from it.
    """
    ids = np.asarray(tokens, np.int64)
    book = Scores(ids)
    adapter = backend.document_adapter(adaptation, context)
    starts = np.flatnonzero(ids == bos_id).tolist()
    spans = sorted(_spans(starts, book.targets), key=lambda span: span[1] - span[0])
    for i in range(0, len(spans), adaptation.documents):
        group = spans[i : i + adaptation.documents]
        adapter.begin(len(group))
        for number in range(-(-(group[-1][1] - group[-1][0]) // adaptation.chunk)):
            _score_documents(
                adapter, book, ids, group, document_window(number, adaptation.chunk, context), bos_id
            )
            report(book.written / book.targets)
    return book.complete()


def document_window(number: int, chunk: int, context: int) -> Window:
    """Which tokens of a document score its chunk `number`: as many as the context holds, up to the chunk's end.

    The published record ends the window of a last, short chunk at the document's end and lets it begin `context`
    tokens before that. Here it begins where that of a full chunk does, or it would tell how long the document is.
    """
    end = (number + 1) * chunk
    return Window(max(0, end - context), end, number * chunk)


def _score_documents(
    adapter: DocumentAdapter, book: Scores, ids: Ids, group: list[Span], window: Window, filler: int
) -> None:
    """Score one chunk of every document that has it, and learn from those that go on behind it."""
    alive = [d for d, (first, end) in enumerate(group) if end - first > window.first_scored]
    longest = max(group[d][1] - group[d][0] for d in alive)
    length = min(window.end, longest) - window.start
    # Behind the end of a shorter document stands anything: nothing before it sees that.
    rows = np.full((len(alive), length + 1), filler, np.int64)
    for row, d in zip(rows, alive, strict=True):
        first, end = group[d]
        text = ids[first + window.start : min(first + window.end, end) + 1]
        row[: len(text)] = text
    last = min(window.end, longest) - window.first_scored
    graded = {}
    for d, costs in zip(alive, adapter.nll(rows[:, :-1], rows[:, 1:], alive, last), strict=True):
        first, end = group[d]
        scored = book.write(first + window.first_scored, costs[: end - first - window.first_scored])
        if scored.end < end:
            graded[d] = scored
    if graded:
        adapter.adapt(graded)
