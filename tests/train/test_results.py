"""What is kept of a run after its training comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bytegolf.errors import RunError
from bytegolf.train import results

FACTS = {"artifact_sha256": "a", "text_sha256": "t", "score": {"stride": 1}, "bpb": 1.25}
ARRAYS = {"document_nats": np.array([1.5, 2.5]), "document_bytes": np.array([3, 4])}


def test_a_scoring_comes_back_and_the_same_one_is_replaced(tmp_path: Path) -> None:
    results.keep_scoring(tmp_path, FACTS, ARRAYS)
    results.keep_scoring(tmp_path, FACTS | {"seconds": 2.0}, ARRAYS)
    (found,) = results.scorings(tmp_path)
    assert found.facts == FACTS | {"seconds": 2.0}
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        "document_nats": [1.5, 2.5],
        "document_bytes": [3, 4],
    }


@pytest.mark.parametrize("change", [{"artifact_sha256": "b"}, {"text_sha256": "u"}, {"score": {"stride": 2}}])
def test_another_file_text_or_way_is_another_scoring(tmp_path: Path, change: dict) -> None:
    results.keep_scoring(tmp_path, FACTS, {})
    results.keep_scoring(tmp_path, FACTS | change, {})
    assert len(results.scorings(tmp_path)) == 2


def test_other_results_are_kept_by_name(tmp_path: Path) -> None:
    assert results.kept(tmp_path, "proof") is None
    results.keep(tmp_path, "proof", {"proven": True})
    assert results.kept(tmp_path, "proof") == {"proven": True}


@pytest.mark.parametrize("name", ["proof.json", "score-1.json", "score-1.npz"])
def test_what_is_damaged_is_said(tmp_path: Path, name: str) -> None:
    path = results.keep_scoring(tmp_path, FACTS, ARRAYS)
    for old in (path, path.with_suffix(".npz")):
        old.rename(old.with_stem("score-1"))
    (tmp_path / results.RESULTS / name).write_bytes(b"{")
    with pytest.raises(RunError, match="damaged"):
        results.scorings(tmp_path) if name.startswith("score") else results.kept(tmp_path, "proof")


def test_a_file_is_in_a_run_when_the_run_is_whole(tmp_path: Path) -> None:
    artifact = tmp_path / "model.golf"
    assert results.run_of(artifact) is None
    (tmp_path / "run.json").write_text("{}")
    assert results.run_of(artifact) == tmp_path
