"""A packed model brought back to life: a .golf file and a backend with the decoded weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bytegolf import registry
from bytegolf.model.backend import Backend
from bytegolf.model.world import ALONE, World
from bytegolf.model_file import ModelFile, open_model


@dataclass(frozen=True)
class Packed(ModelFile):
    """What a .golf file holds, ready to run."""

    backend: Backend


def load_packed(path: Path, device: str = "auto", world: World = ALONE, *, backend: str = "torch") -> Packed:
    """Read, check and decode. Raises ArtifactError for a damaged file or one whose parts do not fit together."""
    file = open_model(path)
    made: Backend = registry.lookup("backend", backend)(file.config.model, device=device, world=world)
    made.load(file.artifact.weights())
    return Packed(file.artifact, file.config, file.tokenizer, file.sha256, file.nbytes, made)
