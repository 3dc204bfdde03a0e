"""Bits per byte of held-out text: every target scored once, over the bytes of the raw text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.config.schema import Score as Settings
from bytegolf.model.backend import Backend
from bytegolf.model.world import ALONE, World
from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.score.breakdown import Breakdown, broken_down
from bytegolf.score.held_out import HeldOut
from bytegolf.score.passes import Report, See, nothing, target_nats, unseen

Pass = Callable[..., NDArray[np.float64]]  # as stream_nats takes it


@dataclass(frozen=True)
class Score:
    """bpb = nats / (ln 2 * bytes). The first token of the stream is given; every later one is a target.

    A document's BOS is a target like any other and has no bytes: its cost counts, so that documents are paid
    for. seconds: of the scoring alone. settings: context, stride, isolation and adaptation, as resolved.
    breakdown: where the bits went, when the bytes of the single tokens are known.
    """

    bpb: float
    nats_per_token: float
    targets: int
    bytes: int
    documents: int
    settings: Settings
    seconds: float
    text_sha256: str
    breakdown: Breakdown | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        facts = {key: value for key, value in vars(self).items() if key not in ("settings", "breakdown")}
        return facts | {"score": self.settings.model_dump(mode="json")}


def score(backend: Backend, text: HeldOut, settings: Settings, report: Report = nothing) -> Score:
    """Score a text as `settings` say; its context must be resolved. `report` gets the share done.

    The ranks of the backend's world score a part each, and all get the same. Cost: about targets * context /
    stride token forwards, and what the adaptation trains.
    """
    assert settings.context > 0, "0 means the context of the model, which only the config knows"
    start = time.perf_counter()
    nats = stream_nats(backend, text.tokens, text.starts, settings, report, world=backend.world)
    total = math.fsum(nats)
    return Score(
        bpb=bits_per_byte(total, text.n_bytes),
        nats_per_token=total / len(nats),
        targets=len(nats),
        bytes=text.n_bytes,
        documents=len(text.starts),
        settings=settings,
        seconds=time.perf_counter() - start,
        text_sha256=text.sha256,
        breakdown=None if text.counts is None else broken_down(nats, text.counts, text.starts, settings),
    )


def stream_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    starts: Sequence[int],
    settings: Settings,
    report: Report = nothing,
    keep: Collection[int] = (),
    see: See = unseen,
    world: World = ALONE,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:], scored as `settings` say; documents begin at `starts`.

    `see` gets the distributions that the targets in `keep` were scored with. Raises ConfigError when several ranks
    are to share what has to be done in order.
    """
    context, stride, kind = settings.context, settings.stride, settings.adaptation.kind
    if kind == "none":
        borders = starts if settings.documents == "isolated" else (0,)
        return target_nats(backend, tokens, context, stride, borders, report, keep, see, world)
    adapted: Pass = registry.lookup("adaptation", kind, "score")
    return adapted(backend, tokens, starts, settings, report, keep, see, world)
