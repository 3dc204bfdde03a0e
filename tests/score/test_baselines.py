"""Laws of the classical bars: their sizes decode, and nothing that is missing goes unsaid."""

from __future__ import annotations

import bz2
import importlib
import lzma
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.errors import DataError
from bytegolf.score import baselines
from bytegolf.score.baselines import MissingLibraryError, dictionaries, run_baselines

NAMES = registry.names("baseline")


def source(package: str) -> bytes:
    root = Path(sysconfig.get_path("stdlib")) / package
    return b"".join(path.read_bytes() for path in sorted(root.glob("*.py")))


TEXT, TRAIN = source("json"), source("email") + source("unittest")


def test_every_registered_baseline_gives_a_size_that_it_decoded() -> None:
    results = run_baselines(TEXT, TRAIN, 50_000)
    assert list(results) == NAMES
    for name, result in results.items():
        assert result.skipped is None, name
        assert result.bytes is not None
        assert result.bpb == 8 * result.bytes / len(TEXT)
        assert 0.5 < result.bpb < 2.5
        assert result.to_json().keys() == {"bytes", "bpb", "seconds"}


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_that_gives_other_bytes_back_is_no_baseline(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved = baselines._proved
    monkeypatch.setattr(baselines, "_proved", lambda blob, back, text: proved(blob, back[:-1], text))
    with pytest.raises(AssertionError, match="give its text back"):
        registry.lookup("baseline", name)(TEXT[:5000], TRAIN, 5000)


def test_the_sizes_are_those_of_the_tools_at_their_strongest() -> None:
    results = run_baselines(TEXT, TRAIN, 50_000, ["xz -9e", "bz2 -9"])
    assert results["xz -9e"].bytes == len(lzma.compress(TEXT, preset=9 | lzma.PRESET_EXTREME))
    assert results["bz2 -9"].bytes == len(bz2.compress(TEXT, 9))


def test_training_text_helps_and_the_text_itself_as_dictionary_helps_most() -> None:
    plain = baselines.zstd(TEXT, TRAIN, 50_000)
    helped = baselines.zstd_dictionary(TEXT, TRAIN, 100_000)
    assert baselines.zstd_dictionary(TEXT, TEXT, len(TEXT)) < 200 < helped < plain


@settings(max_examples=15)
@given(st.binary(min_size=1, max_size=5000), st.integers(1, 6000))
def test_no_dictionary_is_larger_than_the_budget(train: bytes, budget: int) -> None:
    found = dictionaries(train, budget)
    assert found
    assert all(0 < len(content) <= budget for content in found)
    if len(train) <= budget:
        assert found == [train]


def test_the_three_dictionaries_fill_the_budget_from_all_over_the_training_text() -> None:
    tail, even, built = dictionaries(TRAIN, 40_000)
    assert tail == TRAIN[-40_000:]
    assert 39_000 < len(even) <= 40_000
    assert even[:1000] == TRAIN[:1000]
    assert 30_000 < len(built) <= 40_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [b"a", b"\x00" * 3000, bytes(range(256)) * 5], ids=["one", "zeros", "all"])
def test_any_bytes_can_be_a_text(name: str, text: bytes) -> None:
    assert registry.lookup("baseline", name)(text, TRAIN, 2000) > 0


@pytest.mark.parametrize(("name", "library"), [("ppmd", "pyppmd"), ("brotli -11", "brotli")])
def test_a_missing_library_is_said_and_is_an_error_when_asked_for(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(module: str, package: str | None = None) -> object:
        if module == library:
            raise ImportError(module)
        return real(module, package)

    monkeypatch.setattr(importlib, "import_module", without)
    result = run_baselines(TEXT[:2000], TRAIN, 2000)[name]
    assert result.bytes is None
    assert result.skipped is not None
    assert "pip install 'bytegolf[baselines]'" in result.skipped
    assert result.to_json().keys() == {"skipped"}
    with pytest.raises(MissingLibraryError, match=r"bytegolf\[baselines\]"):
        run_baselines(TEXT[:2000], TRAIN, 2000, [name])


def test_an_empty_text_and_an_empty_dictionary_are_refused() -> None:
    with pytest.raises(DataError, match="need a text"):
        run_baselines(b"", TRAIN, 1000)
    with pytest.raises(DataError, match="dictionary needs"):
        baselines.zstd_dictionary(TEXT, b"", 1000)
