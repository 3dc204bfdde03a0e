"""A .golf file opened and checked as a whole: its config, its tokenizer, its tensors. Runs nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bytegolf.artifact.format import Artifact, from_bytes, load_bytes
from bytegolf.config.load import resolve
from bytegolf.config.schema import Config
from bytegolf.data import tokenizer as tokenizers
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import ArtifactError, DataError
from bytegolf.model.spec import manifest


@dataclass(frozen=True)
class ModelFile:
    """What a .golf file holds. sha256 and nbytes are those of the file."""

    artifact: Artifact
    config: Config
    tokenizer: Tokenizer
    sha256: str
    nbytes: int


def open_model(path: Path) -> ModelFile:
    """Read and check. Raises ArtifactError for a damaged file or one whose parts do not fit together."""
    return model_of(load_bytes(path), where=path)


def model_of(data: bytes, where: object = None) -> ModelFile:
    """The model file in `data`, its weights still coded; `where` names it in errors. Raises as `open_model`."""
    artifact = from_bytes(data, where=where)
    config = resolve(dict(artifact.config), where=where)
    try:
        tokenizer = tokenizers.from_bytes(artifact.tokenizer.blob)
    except DataError as error:
        raise ArtifactError(f"the tokenizer inside is damaged: {error.rule}", where=where) from None
    if (tokenizer.vocab_size, tokenizer.bos_id) != (config.model.vocab_size, config.model.bos_id):
        raise ArtifactError(
            f"the model inside has {config.model.vocab_size} vocabulary entries and BOS {config.model.bos_id}",
            got=f"a tokenizer of {tokenizer.vocab_size} and BOS {tokenizer.bos_id}",
            where=where,
        )
    stored = {tensor.name: tensor.shape for tensor in artifact.tensors}
    if stored != {tensor.name: tensor.shape for tensor in manifest(config.model).tensors}:
        # Before any model is built: the sizes of the config are the word of whoever wrote the file.
        raise ArtifactError(
            "the tensors inside are not those of the model that the header describes", where=where
        )
    return ModelFile(artifact, config, tokenizer, hashlib.sha256(data).hexdigest(), len(data))
