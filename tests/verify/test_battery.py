"""The battery finds every known way to be wrong, by the check that is meant to find it, and clears the honest."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf.verify.battery import CHECKS, examine
from bytegolf.verify.check import Case
from bytegolf.verify.subject import ForeignSubject
from cheats.honest import HONEST
from verify_samples import cheat, texts

FAMILIES = ("probabilities", "future", "counting")
CHEATS = [
    value
    for family in FAMILIES
    for value in vars(importlib.import_module(f"cheats.{family}")).values()
    if isinstance(value, type) and "caught_by" in vars(value)
]

CHEAT_FILES = [
    path
    for path in (Path(__file__).parents[1] / "cheats").glob("*.py")
    if "CAUGHT_BY" in path.read_text() and "def split" not in path.read_text()
]

SOURCES = sorted(Path(json.__file__).parent.glob("*.py"))
DOCUMENTS = [path.read_bytes()[at : at + 900] for path in SOURCES for at in (0, 2000)]
DOCUMENTS[1] += "Ünïcödé, 香港".encode()


def case(factory: Callable[[], Any], sample: int | None = 500) -> Case:
    return Case(ForeignSubject(factory, "subject"), DOCUMENTS, sample=sample)


@pytest.mark.parametrize("factory", HONEST)
def test_the_honest_pass_every_check(factory: Callable[[], Any]) -> None:
    findings = list(examine(case(factory)))
    assert [f.id for f in findings] == [check.id for check in CHECKS]
    assert not [(f.id, f.measured) for f in findings if f.status == "fail"]


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_caught_by_the_check_that_is_meant_for_it(cheat: Any) -> None:
    findings = {f.id: f for f in examine(case(cheat))}
    assert findings[cheat.caught_by].status == "fail", findings[cheat.caught_by]
    assert cheat.__doc__


@pytest.mark.parametrize("file", sorted(CHEAT_FILES), ids=lambda file: file.stem)
def test_a_cheat_with_files_of_its_own_is_caught_likewise(file: Path, tmp_path: Path) -> None:
    """These need a process, a folder or a second text, so that each is a module."""
    text = file.read_text()
    caught_by = text.partition('CAUGHT_BY = "')[2].partition('"')[0]
    documents = texts(24)
    fields: dict[str, Any] = {}
    if "budget" in text:
        fields["budget"] = 100_000
    examined = cheat(file.stem, tmp_path if "def make" in text else None, documents, **fields)
    if caught_by == "T14":
        examined = replace(examined, hidden=texts(24, "hidden"))
    if caught_by == "T9":
        examined.subject.run(examined.tokens)  # what remembers has something to remember
    (check,) = [check for check in CHECKS if check.id == caught_by]
    (finding,) = examine(examined, [check])
    assert finding.status == "fail", finding


class PerByte:
    """Costs of so many bits for each byte, whatever the text, but `dear` ones above 127."""

    def __init__(self, bits: float, dear: float) -> None:
        self.nats, self.dear = bits * np.log(2), dear * np.log(2)

    def score(self, tokens: np.ndarray, write: Any) -> None:
        write(0, np.where(tokens[1:] < 128, self.nats, self.dear))


@pytest.mark.parametrize(
    ("bits", "dear", "found"),
    [(8.1, 8.1, ""), (3.0, 30.0, "shuffled"), (7.5, 7.5, "random bytes"), (0.5, 30.0, "of xz")],
)
def test_each_control_has_its_own_least_cost(bits: float, dear: float, found: str) -> None:
    (check,) = [check for check in CHECKS if check.id == "T16"]
    (finding,) = examine(case(lambda: PerByte(bits, dear)), [check])
    assert (finding.status == "fail") == bool(found), finding
    assert found in finding.measured
