"""A small model, packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_model import CODECS, ROLES, small_weights

from bytegolf.artifact.format import Artifact, StoredTokenizer
from bytegolf.artifact.pack import pack


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return small_weights()


@pytest.fixture
def made_of(weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arguments of `pack` for the small model."""
    return {
        "weights": weights,
        "roles": ROLES,
        "codecs": CODECS,
        "config": {"model": {"width": 8, "ratio": 0.5, "name": "größer"}, "codec": CODECS},
        "tokenizer": StoredTokenizer("bytes", 256, b'{"kind":"bytes"}'),
        "provenance": {"tool": "0.1.0", "data": ["0" * 64], "steps": 3},
    }


@pytest.fixture
def artifact(made_of: dict[str, Any]) -> Artifact:
    return pack(**made_of)
