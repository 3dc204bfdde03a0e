"""The laboratory is built once; each test works in an empty folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_samples import Answer, Lab, build_lab


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, dict[str, Answer]]:
    return build_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def lab(built: tuple[Lab, dict[str, Answer]]) -> Lab:
    return built[0]


@pytest.fixture(scope="session")
def answers(built: tuple[Lab, dict[str, Answer]]) -> dict[str, Answer]:
    return built[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
