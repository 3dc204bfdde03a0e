"""The battery finds every known way to be wrong, by the check that is meant to find it, and clears the honest."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytegolf.verify.battery import CHECKS, examine
from bytegolf.verify.check import Case
from bytegolf.verify.subject import ForeignSubject
from cheats.honest import HONEST

FAMILIES = ("probabilities", "future", "counting")
CHEATS = [
    value
    for family in FAMILIES
    for value in vars(importlib.import_module(f"cheats.{family}")).values()
    if isinstance(value, type) and "caught_by" in vars(value)
]

SOURCES = sorted(Path(json.__file__).parent.glob("*.py"))
DOCUMENTS = [path.read_bytes()[at : at + 900] for path in SOURCES for at in (0, 2000)]
DOCUMENTS[1] += "Ünïcödé, 香港".encode()


def case(factory: Callable[[], Any], sample: int | None = 500) -> Case:
    return Case(ForeignSubject(factory, factory.__name__), DOCUMENTS, sample=sample)


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
