"""lora: a low-rank change of the weights that every document learns on its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.config.schema import Score as Settings
from bytegolf.model.backend import Backend
from bytegolf.model.world import World
from bytegolf.score.adaptive import document_nats
from bytegolf.score.passes import Report, See


def by_document(
    backend: Backend,
    tokens: NDArray[np.integer],
    starts: Sequence[int],
    settings: Settings,
    report: Report,
    keep: Collection[int],
    see: See,
    world: World,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats, as score.adaptive.document_nats gives them."""
    kind = settings.adaptation
    assert isinstance(kind, LoraAdaptation)
    return document_nats(backend, tokens, starts, settings.context, kind, report, keep, see, world)


LowRank = by_document
