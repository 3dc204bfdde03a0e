"""A hub that serves the toy export, and a client that does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from bytegolf.data import remote
from fakes.hub import FakeHub
from fakes.toy_fineweb import toy_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Nothing may be written to the cache of the client: its folder must never be there."""
    monkeypatch.setattr(remote, "_WAIT", 0.001)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "never"))
    with toy_hub().serving() as hub:
        yield hub
