"""Small model files to code text with, one for each kind of tokenizer."""

from __future__ import annotations

import functools

import numpy as np

from bytegolf import registry
from bytegolf.artifact.format import StoredTokenizer, to_bytes
from bytegolf.artifact.pack import pack
from bytegolf.config.schema import ROLES
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer
from bytegolf.model.spec import manifest
from bytegolf.model_file import ModelFile, model_of
from exact_samples import trained_like
from tiny import tiny_config

PROSE = (
    b"The coder reads what the model says, and the model says what the coder reads. A block is a text of its own; "
    b"THE BLOCK before it is not seen. def read(state, ids):\n    return model(state, ids)\n\n"
) * 4
KINDS = registry.names("tokenizer")


@functools.cache
def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "bytes":
        return ByteTokenizer()
    return (BpeTokenizer if kind == "bpe" else CaseBpeTokenizer).learn([PROSE], 320)


@functools.cache
def model_file(kind: str = "bytes", *overrides: str) -> ModelFile:
    """Weights of the sizes that training gives, in int8; what they predict is arbitrary."""
    tokenizer = tokenizer_of(kind)
    config = tiny_config(f"model.vocab_size={tokenizer.vocab_size}", *overrides)
    tensors = manifest(config.model)
    weights = {name: a.astype(np.float32) for name, a in trained_like(config.model, 3).items()}
    blob = StoredTokenizer(kind, tokenizer.vocab_size, tokenizer.to_bytes())
    codecs = dict.fromkeys(ROLES, "int8")
    artifact = pack(weights, tensors.roles(), codecs, config.model_dump(mode="json"), blob, {})
    return model_of(to_bytes(artifact))
