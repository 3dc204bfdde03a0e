"""The twenty lines of docs/referee.md work, and the table names the checks that there are."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from bytegolf.verify.battery import CHECKS, examine
from bytegolf.verify.check import Case
from bytegolf.verify.subject import ForeignSubject

PAGE = (Path(__file__).parents[2] / "docs" / "referee.md").read_text(encoding="utf-8")


def their_model() -> types.ModuleType:
    """A 'submission' of 1,024 symbols: bytes, then controls; logits by the symbol before."""
    module = types.ModuleType("their_model")
    table = np.random.default_rng(0).normal(0, 1, (1024, 1024)).astype(np.float32)
    module.__dict__["forward"] = lambda ids: table[ids]
    module.__dict__["PIECES"] = [b""] * 4 + [bytes([b]) for b in range(256)] + [b""] * 764
    module.__dict__["TOKENIZER"] = lambda document: [4 + byte for byte in document]
    return module


def test_the_wrapper_of_the_page_passes_the_battery(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    monkeypatch.setitem(sys.modules, "their_model", their_model())
    scope: dict[str, object] = {}
    exec(code, scope)
    documents = [Path(__file__).read_bytes()[at : at + 700] for at in range(0, 1400, 700)]
    case = Case(ForeignSubject(scope["factory"], "wrapper"), documents, sample=800)  # type: ignore[arg-type]
    findings = list(examine(case))
    assert not [(f.id, f.measured) for f in findings if f.status == "fail"]


def test_the_page_names_every_check() -> None:
    assert re.findall(r"^\| (T\d+) \|", PAGE, flags=re.M) == [check.id for check in CHECKS]
