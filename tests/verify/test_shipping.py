"""What ships is what lies on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf.artifact import format as golf
from bytegolf.artifact.format import StoredTokenizer
from bytegolf.artifact.pack import pack
from bytegolf.verify import shipping
from bytegolf.verify.check import Case
from bytegolf.verify.clean_run import shipped_files
from bytegolf.verify.shipping import CHECKS
from bytegolf.verify.subject import ForeignSubject
from verify_samples import HONEST, WholeText, case_of, cheat, honest, run, texts


def artifact_case(folder: Path, **fields: Any) -> Case:
    """A case about a small artifact; what scores it does not matter here."""
    artifact = pack(
        weights={"embed": np.ones((12, 8), np.float32)},
        roles={"embed": "embed"},
        codecs={"embed": "int8"},
        config={"model": {"width": 8}},
        tokenizer=StoredTokenizer("bytes", 256, b'{"kind":"bytes"}'),
        provenance={"steps": 3},
    )
    path = folder / "small.golf"
    golf.write(path, artifact)
    subject = ForeignSubject(WholeText, "stub")
    return Case(
        subject, texts(2), files=[path], in_clean_room={"kind": "artifact", "path": str(path)}, **fields
    )


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "undeclared_files", lambda case: {})


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_ships_its_module_and_nothing_else(name: str) -> None:
    case = honest(name)
    (file,) = shipped_files(case)
    size = file.stat().st_size
    outcome = run(CHECKS, "T11", honest(name, budget=size))
    assert outcome.status == "pass"
    assert outcome.figures["bytes"] == size
    assert outcome.figures["files"] == {str(file): size}
    assert outcome.figures["undeclared"] == {}


def test_a_byte_over_the_budget_is_too_much() -> None:
    size = shipped_files(honest("Order0"))[0].stat().st_size
    outcome = run(CHECKS, "T11", honest("Order0", budget=size - 1))
    assert outcome.status == "fail"
    assert f"1 bytes over the budget of {size - 1:,}" in outcome.measured


def test_a_claim_that_is_not_the_size_fails() -> None:
    outcome = run(CHECKS, "T11", cheat("claims_fewer_bytes"))
    assert outcome.status == "fail"
    assert "it claims 100" in outcome.measured


def test_a_helper_that_was_not_declared_counts_and_a_declared_one_is_fine(tmp_path: Path) -> None:
    case = cheat("undeclared_helper", tmp_path)
    outcome = run(CHECKS, "T11", case)
    assert outcome.status == "fail"
    assert outcome.figures["undeclared"] == {str(tmp_path / "helper.bin"): 257 * 8}
    assert outcome.figures["bytes"] == (tmp_path / "undeclared_helper.py").stat().st_size + 257 * 8
    assert "helper.bin (2,056)" in outcome.measured
    spec = f"{tmp_path / 'undeclared_helper.py'}:factory"
    declared = run(CHECKS, "T11", case_of(spec, texts(12), files=[tmp_path / "helper.bin"]))
    assert declared.status == "pass"
    assert declared.figures["bytes"] == outcome.figures["bytes"]


def test_a_file_counts_once_and_a_folder_with_all_it_holds(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "deep" / "er" / "b").write_bytes(b"678")
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "a")
    case = honest("Order0", files=[tmp_path / "deep", tmp_path / "deep" / "a", tmp_path / "link"])
    files = shipped_files(case)
    assert [file.name for file in files] == ["a", "b", "verify_samples.py"]
    assert run(CHECKS, "T11", case).figures["bytes"] == 8 + files[2].stat().st_size


@pytest.mark.usefixtures("no_child")
def test_an_artifact_is_its_one_file_and_every_byte_has_its_line(tmp_path: Path) -> None:
    case = artifact_case(tmp_path)
    size = (tmp_path / "small.golf").stat().st_size
    assert run(CHECKS, "T11", artifact_case(tmp_path, budget=size)).status == "pass"
    assert run(CHECKS, "T11", case).figures["bytes"] == size
    assert run(CHECKS, "T11", artifact_case(tmp_path, budget=size - 1)).status == "fail"
    with open(tmp_path / "small.golf", "ab") as file:
        file.write(b"helper")
    outcome = run(CHECKS, "T11", case)
    assert outcome.status == "fail"
    assert "followed by other bytes" in outcome.measured


@pytest.mark.usefixtures("no_child")
def test_a_ledger_that_loses_bytes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = artifact_case(tmp_path)

    class Short:
        total = 5

    monkeypatch.setattr(shipping, "ledger", lambda artifact: Short)
    assert "accounts for 5 bytes" in run(CHECKS, "T11", case).measured


def test_without_files_there_is_nothing_to_weigh() -> None:
    case = Case(ForeignSubject(WholeText, "here"), texts(2), budget=10)
    assert run(CHECKS, "T11", case).status == "not run"
