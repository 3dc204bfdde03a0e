"""Test-time training before the score: the form that is not valid, for the referee to find and for nobody to use.

The adapters of bytegolf take only graded text. To cheat with them one has to forge grades, as here, in a book of
one's own.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from bytegolf.config.adaptation import FullWeights
from bytegolf.model.backend import Backend
from bytegolf.model.scored import Scores
from bytegolf.score.passes import target_nats
from bytegolf.verify.packed import PackedSubject
from bytegolf.verify.subject import Floats, Ids, Run


def illegal_nats(
    backend: Backend,
    tokens: Ids,
    context: int,
    stride: int,
    adaptation: FullWeights,
    keep: Collection[int] = (),
) -> Run:
    """Train on all of the text, chunk by chunk, and then score it (as PR 489 of Parameter Golf did)."""
    forged, seen = Scores(tokens), dict[int, Floats]()
    with backend.adapter(adaptation) as adapter:
        for first in range(0, forged.targets, adaptation.chunk):
            size = min(adaptation.chunk, forged.targets - first)
            adapter.adapt(forged.write(first, np.zeros(size)))
        nats = target_nats(adapter, tokens, context, stride, keep=keep, see=seen.__setitem__)
    return Run(nats, np.ones(len(nats), np.int64), seen)


class IllegalSubject(PackedSubject):
    """A packed model that is scored that way."""

    caught_by = "T2"

    def run(self, tokens: Ids, keep: Collection[int] = ()) -> Run:
        settings = self.settings
        adaptation = settings.adaptation
        assert isinstance(adaptation, FullWeights)
        backend = self.packed.backend
        return illegal_nats(backend, tokens, settings.context, settings.stride, adaptation, keep)
