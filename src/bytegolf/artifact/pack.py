"""weights + roles + a codec a role -> Artifact."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.artifact.format import Artifact, StoredTensor, StoredTokenizer
from bytegolf.codec import base
from bytegolf.errors import ArtifactError, ConfigError


def pack(
    weights: Mapping[str, NDArray[np.float32]],
    roles: Mapping[str, str],
    codecs: Mapping[str, str],
    config: Mapping[str, Any],
    tokenizer: StoredTokenizer,
    provenance: Mapping[str, Any],
    pinned: Mapping[str, str] = MappingProxyType({}),
) -> Artifact:
    """Encode every tensor with the codec of its role, in the order of `weights`.

    `roles`: tensor name -> role, covering `weights` exactly. `codecs`: role -> codec name; a role that no tensor
    has is fine. `pinned`: tensor name -> codec name, for tensors that differ from their role. Raises ArtifactError
    (roles and weights differ, a weight that its codec cannot hold) and ConfigError (a role without a codec, an
    unknown codec). Cost: about 80 ns a weight.
    """
    check_cover(weights, roles, codecs)
    tensors = []
    for name, array in weights.items():
        codec = pinned.get(name, codecs[roles[name]])
        blob = encode(name, array, codec)
        tensors.append(StoredTensor(name, roles[name], codec, tuple(array.shape), blob))
    return Artifact(config, tokenizer, tuple(tensors), provenance)


def encode(name: str, array: NDArray[np.float32], codec: str) -> bytes:
    """One tensor's blob; the codec's ArtifactError gains the tensor's name."""
    try:
        return base.get(codec).encode(array)
    except ArtifactError as error:
        raise ArtifactError(f"tensor {name}: {error.rule}", got=error.got, fix=error.fix) from error


def check_cover(weights: Mapping[str, object], roles: Mapping[str, str], codecs: Mapping[str, str]) -> None:
    """Raise unless every tensor has a role, every role a tensor, and every role in use a registered codec."""
    if weights.keys() != roles.keys():
        without, unknown = sorted(weights.keys() - roles.keys()), sorted(roles.keys() - weights.keys())
        raise ArtifactError(
            "roles must cover the weights exactly",
            got=f"weights without a role: {without}; roles without weights: {unknown}",
            fix="pack the weights with the config they were trained with",
        )
    bare = sorted(set(roles.values()) - codecs.keys())
    if bare:
        raise ConfigError("every role needs a codec", got=f"none for {', '.join(bare)}", where="pack.codecs")
    for role, codec in codecs.items():
        base.get(codec, where=f"pack.codecs.{role}")
