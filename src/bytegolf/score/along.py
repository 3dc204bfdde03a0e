"""Scores of held-out text along a training run: a pause of its loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bytegolf.config.schema import Score as Settings
from bytegolf.config.schema import Validation
from bytegolf.data.dataset import Dataset
from bytegolf.files import write_atomically
from bytegolf.model.backend import Backend
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut


class AlongTheRun:
    """Scores the weights as they are, by the settings, after every `every` steps, on all ranks together.

    path: where the rank that writes puts one JSON line for each, which it passes on; None for the others.
    """

    name = "validation"

    def __init__(
        self,
        backend: Backend,
        text: HeldOut,
        settings: Settings,
        every: int,
        path: Path | None,
        tell: Callable[[str], None],
        pass_on: Callable[[dict[str, Any]], None] = lambda line: None,
    ) -> None:
        self.backend, self.text, self.settings = backend, text, settings
        self.every, self.path, self.tell, self.pass_on = every, path, tell, pass_on

    def due(self, record: Any) -> bool:
        return bool(record.step % self.every == 0)

    def on_pause(self, done: Any, aside: dict[str, float]) -> None:
        found = score(self.backend, self.text, self.settings)
        if self.path is None:
            return
        line = {
            "step": done.steps,
            "seconds": round(done.seconds, 6),
            "tokens": done.tokens,
            "bpb": found.bpb,
            "nats_per_token": found.nats_per_token,
            "targets": found.targets,
            "bytes": found.bytes,
        }
        # A run that goes on from a checkpoint comes by the same steps again.
        kept = [old for old in validations(self.path) if old["step"] < done.steps]
        write_atomically(self.path, *(json.dumps(entry).encode() + b"\n" for entry in [*kept, line]))
        self.pass_on(line)
        self.tell(f"step {done.steps:,}: {found.bpb:.4f} bpb on {found.bytes:,} held-out bytes")


def validations(path: Path) -> list[dict[str, Any]]:
    """What validation.jsonl holds; nothing when there is none."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def validation_text(dataset: Dataset, validation: Validation) -> HeldOut:
    """The held-out documents from the first on, until they have `validation.tokens`. Raises DataError."""
    tokens = dataset.val_tokens()
    starts = np.flatnonzero(tokens == dataset.tokenizer.bos_id)
    behind = starts[starts >= (validation.tokens or len(tokens))]
    end = int(behind[0]) if len(behind) else len(tokens)
    n_bytes = int(dataset.byte_counts("val")[:end].sum(dtype=np.int64))
    return HeldOut(tokens[:end], starts[starts < end].tolist(), n_bytes, "")
