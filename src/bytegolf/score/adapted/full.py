"""sgd, adamw: weights that learn from the text as they go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.adaptation import FullWeights
from bytegolf.config.schema import Score as Settings
from bytegolf.errors import ConfigError
from bytegolf.model.backend import Backend
from bytegolf.model.world import World
from bytegolf.score.adaptive import adaptive_nats
from bytegolf.score.passes import Report, See


def in_order(
    backend: Backend,
    tokens: NDArray[np.integer],
    starts: Sequence[int],
    settings: Settings,
    report: Report,
    keep: Collection[int],
    see: See,
    world: World,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats, as score.adaptive.adaptive_nats has them. Raises ConfigError for several ranks."""
    kind = settings.adaptation
    assert isinstance(kind, FullWeights)
    if world.size > 1:
        raise ConfigError(
            "weights that learn from the text as they go need one process",
            got=f"{world.size} processes",
            where=f'score.adaptation.kind = "{kind.kind}"',
            fix="score without torchrun, or with --adapt lora, which learns each document on its own",
        )
    borders = starts if settings.documents == "isolated" else (0,)
    return adaptive_nats(
        backend,
        tokens,
        settings.context,
        settings.stride,
        kind,
        starts=borders,
        report=report,
        keep=keep,
        see=see,
    )


Sgd = AdamW = in_order
