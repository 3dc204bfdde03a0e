"""A packed model brought back to life: file -> config, tokenizer and a backend with the decoded weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bytegolf import registry
from bytegolf.artifact.format import Artifact, from_bytes, load_bytes
from bytegolf.config.load import resolve
from bytegolf.config.schema import Config
from bytegolf.data import tokenizer as tokenizers
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import ArtifactError, DataError
from bytegolf.model.backend import Backend
from bytegolf.model.spec import manifest


@dataclass(frozen=True)
class Packed:
    """What a .golf file holds, ready to run. sha256 and nbytes are those of the file."""

    artifact: Artifact
    config: Config
    tokenizer: Tokenizer
    backend: Backend
    sha256: str
    nbytes: int


def load_packed(path: Path, device: str = "auto") -> Packed:
    """Read, check and decode. Raises ArtifactError for a damaged file or one whose parts do not fit together."""
    data = load_bytes(path)  # once: the sha256 below is that of the bytes that were decoded
    artifact = from_bytes(data, where=path)
    config = resolve(dict(artifact.config), where=path)
    try:
        tokenizer = tokenizers.from_bytes(artifact.tokenizer.blob)
    except DataError as error:
        raise ArtifactError(f"the tokenizer inside is damaged: {error.rule}", where=path) from None
    if (tokenizer.vocab_size, tokenizer.bos_id) != (config.model.vocab_size, config.model.bos_id):
        raise ArtifactError(
            f"the model inside has {config.model.vocab_size} vocabulary entries and BOS {config.model.bos_id}",
            got=f"a tokenizer of {tokenizer.vocab_size} and BOS {tokenizer.bos_id}",
            where=path,
        )
    stored = {tensor.name: tensor.shape for tensor in artifact.tensors}
    if stored != {tensor.name: tensor.shape for tensor in manifest(config.model).tensors}:
        # Before the model is built: the sizes of the config are the word of whoever wrote the file.
        raise ArtifactError(
            "the tensors inside are not those of the model that the header describes", where=path
        )
    backend: Backend = registry.lookup("backend", "torch")(config.model, device=device)
    backend.load(artifact.weights())
    return Packed(artifact, config, tokenizer, backend, hashlib.sha256(data).hexdigest(), len(data))
