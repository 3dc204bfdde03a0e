"""Bytes that must never change: what is written today is read by every later version.

When one of these fails, the format or the initial weights have changed. If that is meant, raise the version of
the format (or say in the log that seeds give other weights) before writing down a new digest.
"""

from __future__ import annotations

import hashlib

from bytegolf.artifact.format import to_bytes
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from golden_artifact import golden_artifact
from model_samples import system

ARTIFACT = "491206144c771353994c498ce777cfe05092a707ee5bb8b1a76f7a47ecce8799"
WEIGHTS = "6c761622c7a75849847762cfae1374a7bd3087e315b18759cda36964705d2f1f"
TOKENIZER = "3e3189139d1ed17c13a06084207dd727c9d621475e3d24e67f4ebfa5c8f24727"


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_an_artifact_of_fixed_weights_has_fixed_bytes() -> None:
    """Weights are small multiples of 1/64, so no machine rounds them differently."""
    assert digest(to_bytes(golden_artifact())) == ARTIFACT


def test_a_seed_gives_fixed_initial_weights() -> None:
    """Without orthogonal matrices, which come from LAPACK and differ in their last bits between machines."""
    tensors = manifest(system(layers=1, dim=16, hidden=8))
    assert {t.init.kind for t in tensors.tensors} == {"zeros", "constant", "normal", "uniform_fan_in"}
    weights = initial_weights(tensors, 1337)
    assert digest(*(weights[t.name].tobytes() for t in tensors.tensors)) == WEIGHTS


def test_a_tokenizer_has_fixed_bytes() -> None:
    single = [bytes([byte]) for byte in range(256)]
    tokenizer = BpeTokenizer([*single, b"th", b"the", b" t", b" the", b"an", b"and"])
    assert digest(tokenizer.to_bytes(), ByteTokenizer().to_bytes()) == TOKENIZER
