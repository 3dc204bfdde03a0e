"""One pass of a model over a token stream: every target of the stream gets its cost once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bytegolf.model.backend import Floats, Ids
from bytegolf.model.scored import Scores
from bytegolf.model.world import ALONE, World
from bytegolf.numeric.windows import Window, plan

# Positions in one forward pass: enough to fill the machine, small enough for its memory.
TOKENS_PER_BATCH = 16_384
# Windows that are looked through for ones of about equal length, and how much padding a row may have.
_LOOK_AHEAD = 256
_PADDING = 0.25

Report = Callable[[float], None]
See = Callable[[int, NDArray[np.float64]], None]
Write = Callable[[int, NDArray[np.floating]], object]


class Reader(Protocol):
    """What a pass asks of a model: a Backend, or an Adapter with its weights of the moment."""

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats: ...

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats: ...


def nothing(share: float) -> None:
    """A report that goes nowhere."""


def unseen(target: int, p: NDArray[np.float64]) -> None:
    """Distributions that nobody keeps."""


def target_nats(
    model: Reader,
    tokens: NDArray[np.integer],
    context: int,
    stride: int,
    starts: Sequence[int] = (0,),
    report: Report = nothing,
    keep: Collection[int] = (),
    see: See = unseen,
    world: World = ALONE,
) -> NDArray[np.float64]:
    """Negative log-likelihood (targets,) in nats of tokens[1:]; `starts` as in numeric.windows.plan.

    `see` gets the distributions that the targets in `keep` were scored with. The ranks of `world` score a part
    each, and all get the whole. Raises ScoringError should a target be scored twice or left out.
    """
    scores = Scores(tokens)

    def write(first: int, nats: NDArray[np.floating]) -> None:
        scores.write(first, nats)
        report(min(1.0, scores.written * world.size / scores.targets))

    windows = plan(scores.targets, context, stride, starts)
    score_windows(model, np.asarray(tokens, np.int64), windows, write, keep, see, world)
    return scores.complete(world)


def score_windows(
    model: Reader,
    ids: Ids,
    windows: Iterable[Window],
    write: Write,
    keep: Collection[int] = (),
    see: See = unseen,
    world: World = ALONE,
) -> None:
    """Score windows of the stream `ids`; `write` gets each block once, `see` the distributions of kept targets.

    Of `world.size` ranks each scores every so-many-th batch of windows, made up as it would be alone.
    """
    for group in islice(_batches(windows), world.rank, None, world.size):
        longest = max(w.end - w.start for w in group)
        last = longest - (group[0].first_scored - group[0].start)
        inputs, wanted = (np.zeros((len(group), longest), np.int64) for _ in range(2))
        for row, w in enumerate(group):
            inputs[row, : w.end - w.start] = ids[w.start : w.end]
            wanted[row, : w.end - w.start] = ids[w.start + 1 : w.end + 1]
        nats = model.nll(inputs, wanted, last)
        for row, w in enumerate(group):
            kept = [t for t in keep if w.first_scored <= t < w.end]
            if kept:
                log_p = model.log_probabilities(inputs[row : row + 1], last)[0].astype(np.float64)
                for t in kept:
                    see(t, np.exp(log_p[t - w.first_scored]))
            write(w.first_scored, nats[row, : w.end - w.first_scored])


def _batches(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Windows that go through the network together: scored from the same offset on, of about equal length.

    Shorter rows are padded behind, where no scored position looks.
    """
    stream = iter(windows)
    while ahead := list(islice(stream, _LOOK_AHEAD)):
        ahead.sort(key=lambda w: (w.first_scored - w.start, w.start - w.end))
        group: list[Window] = []
        for window in ahead:
            if group and not _fits(group, window):
                yield group
                group = []
            group.append(window)
        yield group


def _fits(group: list[Window], window: Window) -> bool:
    """The first of a group is its longest."""
    longest, length = group[0].end - group[0].start, window.end - window.start
    same = window.first_scored - window.start == group[0].first_scored - group[0].start
    return same and length >= (1 - _PADDING) * longest and (len(group) + 1) * longest <= TOKENS_PER_BATCH
