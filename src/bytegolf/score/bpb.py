"""Bits per byte of held-out text: every target scored once, over the bytes of the raw text."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Score as Settings
from bytegolf.data.dataset import Dataset
from bytegolf.errors import DataError
from bytegolf.model.backend import Backend
from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.score.passes import Report, See, nothing, target_nats, unseen


@dataclass(frozen=True)
class HeldOut:
    """The text of a score as tokens, and its denominator.

    tokens (n,), a BOS before each document; starts: where documents begin; raw: the text itself.
    """

    tokens: NDArray[np.uint16]
    starts: Sequence[int]
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.tokens) < 2 or not self.raw:
            raise DataError(
                "a score needs at least one target and one byte",
                got=f"{len(self.tokens)} tokens, {len(self.raw)} bytes",
            )

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the raw text."""
        return hashlib.sha256(self.raw).hexdigest()

    @classmethod
    def of(cls, dataset: Dataset) -> HeldOut:
        """The held-out split of a dataset.

        Raises DataError unless its files have their sha256, the text that the tokens decode to has the bytes and
        the sha256 of the manifest, the documents are as many as it says, and the bytes of the single tokens add up
        to those of the text.
        """
        raw, documents = dataset.text("val"), dataset.documents("val")
        tokens = np.concatenate(documents) if documents else np.empty(0, np.uint16)
        counted = int(dataset.byte_counts("val").sum(dtype=np.int64))
        if counted != len(raw):
            raise DataError(
                f"the tokens must stand for the {len(raw)} bytes of the text",
                got=f"{counted} bytes",
                where=dataset.folder,
                fix="build the dataset again with --force",
            )
        starts = list(accumulate((len(document) for document in documents[:-1]), initial=0))
        return cls(tokens, starts, raw)


@dataclass(frozen=True)
class Score:
    """bpb = nats / (ln 2 * bytes). The first token of the stream is given; every later one is a target.

    A document's BOS is a target like any other and has no bytes: its cost counts, so that documents are paid
    for. seconds: of the scoring alone. settings: context, stride, isolation and adaptation, as resolved.
    """

    bpb: float
    nats_per_token: float
    targets: int
    bytes: int
    documents: int
    settings: Settings
    seconds: float
    text_sha256: str

    def to_json(self) -> dict[str, Any]:
        fields = {key: value for key, value in asdict(self).items() if key != "settings"}
        return fields | {"score": self.settings.model_dump(mode="json")}


def score(backend: Backend, text: HeldOut, settings: Settings, report: Report = nothing) -> Score:
    """Score a text as `settings` say; its context must be resolved. `report` gets the share done.

    Cost: about targets * context / stride token forwards, and what the adaptation trains.
    """
    assert settings.context > 0, "0 means the context of the model, which only the config knows"
    start = time.perf_counter()
    nats = stream_nats(backend, text.tokens, text.starts, settings, report)
    total = math.fsum(nats)
    return Score(
        bpb=bits_per_byte(total, len(text.raw)),
        nats_per_token=total / len(nats),
        targets=len(nats),
        bytes=len(text.raw),
        documents=len(text.starts),
        settings=settings,
        seconds=time.perf_counter() - start,
        text_sha256=text.sha256,
    )


def stream_nats(
    backend: Backend,
    tokens: NDArray[np.integer],
    starts: Sequence[int],
    settings: Settings,
    report: Report = nothing,
    keep: Collection[int] = (),
    see: See = unseen,
) -> NDArray[np.float64]:
    """Costs (targets,) in nats of tokens[1:], scored as `settings` say; documents begin at `starts`."""
    borders = starts if settings.documents == "isolated" else (0,)
    return target_nats(backend, tokens, settings.context, settings.stride, borders, report, keep, see)
