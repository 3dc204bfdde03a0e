"""A packed model as the subject of the battery, scored as `bytegolf score` scores it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.coding.exact_coder import ExactCoder
from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.config.schema import Score as Settings
from bytegolf.score.adaptive_predictor import AdaptivePredictor, DocumentPredictor
from bytegolf.score.bpb import stream_nats
from bytegolf.score.packed import Packed, load_packed
from bytegolf.score.predictor import Floats, ModelPredictor, Predictor
from bytegolf.verify.subject import Ids, Run


def open_subject(
    path: Path, score: Mapping[str, Any], device: str = "auto", backend: str = "torch"
) -> PackedSubject:
    """A packed model from its file, scored as `score`, a resolved table of settings, says.

    Raises ArtifactError for a damaged file.
    """
    return PackedSubject(load_packed(path, device, backend=backend), Settings.model_validate(score), path)


class PackedSubject:
    """See verify.subject.Subject. `settings` say how to score; their context is resolved."""

    def __init__(self, packed: Packed, settings: Settings, path: Path) -> None:
        self.packed, self.settings = packed, settings
        self.name = str(path)
        self.vocab_size = packed.tokenizer.vocab_size
        self.end = packed.tokenizer.bos_id
        self.carries_over = settings.documents == "stream" or isinstance(settings.adaptation, FullWeights)

    def encode(self, document: bytes) -> Ids:
        return self.packed.tokenizer.encode(document).astype(np.int64)

    def decode(self, symbols: Ids) -> bytes:
        return self.packed.tokenizer.decode(symbols)

    @cached_property
    def _pieces(self) -> list[bytes]:
        return [self._piece(symbol) for symbol in range(self.vocab_size)]

    def _piece(self, symbol: int) -> bytes:
        """The bytes of a symbol behind a letter: a leading blank counts, an operator on what follows has none."""
        decoder = self.packed.tokenizer.decoder()
        decoder.decode(self.packed.tokenizer.encode(b"x"))
        return decoder.decode([symbol])

    def pieces(self) -> Sequence[bytes]:
        return self._pieces

    def byte_counts(self, symbols: Ids) -> NDArray[np.integer]:
        return self.packed.tokenizer.byte_counts(symbols.astype(np.uint16))

    def run(self, tokens: Ids, keep: Collection[int] = ()) -> Run:
        distributions: dict[int, Floats] = {}
        starts = np.flatnonzero(tokens[:-1] == self.end).tolist()
        backend = self.packed.backend
        nats = stream_nats(backend, tokens, starts, self.settings, keep=keep, see=distributions.__setitem__)
        return Run(nats, np.ones(len(nats), np.int64), distributions)

    @contextmanager
    def predictor(self) -> Iterator[Predictor]:
        """The same model, scored the same way, behind the streaming contract; for one text."""
        settings, backend = self.settings, self.packed.backend
        kind, isolated = settings.adaptation, settings.documents == "isolated"
        sizes = {"bos_id": self.end, "context": settings.context, "stride": settings.stride}
        if isinstance(kind, LoraAdaptation):
            yield DocumentPredictor(backend, kind, bos_id=self.end, context=settings.context)
        elif isinstance(kind, FullWeights):
            with AdaptivePredictor(backend, kind, **sizes, isolated=isolated) as learning:
                yield learning
        else:
            yield ModelPredictor(backend, **sizes, isolated=isolated)

    def exact_coder(self) -> ExactCoder | None:
        """The model as `bytegolf compress` reads it; None with test-time training, which has no exact form."""
        if self.settings.adaptation.kind != "none":
            return None
        return ExactCoder(self.packed, self.settings.context, self.settings.stride)

    def claim(self) -> Mapping[str, Any]:
        return {}

    def claimed_bytes(self, tokens: Ids) -> int | None:
        return None
