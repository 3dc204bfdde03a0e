"""T13: what can be decoded is, at the cost of the score; what needs the text first or changes its mind is not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.verify.battery import chosen
from bytegolf.verify.check import Case
from bytegolf.verify.round_trip import TOTAL, whole
from bytegolf.verify.subject import ForeignSubject
from cheats.honest import HONEST, InLanes, WholeText
from verify_samples import Streaming

TEXT = Path(__file__).read_bytes()
DOCUMENTS = [TEXT[:700], TEXT[700:900], b"", TEXT[1000:1003]]
(CHECK,) = chosen(["T13"])


def outcome(factory: Any) -> tuple[str, str]:
    found = CHECK.run(Case(ForeignSubject(factory, "it"), DOCUMENTS, sample=None))
    return found.status, found.measured


class Dishonest(Streaming):
    """Knows what comes, from the text that it was shown in an earlier run."""

    memory: dict[tuple[int, int], int] = {}
    runs = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.run, self.at = next(self.runs), (0, 0)

    def begin(self, document: int) -> None:
        super().begin(document)
        self.at = (document, 0)

    def probabilities(self) -> Any:
        known = self.memory.get(self.at)
        if known is None:
            return super().probabilities()
        p = np.full(257, 1e-6)
        p[known] = 1 - 256e-6
        return p

    def observe(self, symbol: int) -> None:
        super().observe(symbol)
        self.memory[self.at] = symbol
        self.at = (self.at[0], self.at[1] + 1)


class Unsteady(Streaming):
    """Says something else every time."""

    noise = np.random.default_rng(0)

    def probabilities(self) -> Any:
        p = super().probabilities() * self.noise.uniform(0.5, 1, 257)
        return p / p.sum()


@pytest.mark.parametrize("factory", HONEST)
def test_the_honest_decode_unless_they_need_the_whole_text(factory: Any) -> None:
    status, measured = outcome(factory)
    assert status == ("not run" if issubclass(factory, WholeText) else "pass"), measured


@pytest.mark.parametrize("factory", [Dishonest, Unsteady])
def test_what_changes_between_two_runs_does_not_decode(factory: Any) -> None:
    status, measured = outcome(factory)
    assert status == "fail"
    assert "decodes" in measured


def test_the_code_is_as_long_as_the_score() -> None:
    case = Case(ForeignSubject(InLanes, "it"), DOCUMENTS, sample=None)
    bits = case.base.nats.sum() / np.log(2)
    coded = CHECK.run(case).figures["coded_bytes"]
    assert bits / 8 - 4 < coded < bits / 8 + 10 * len(DOCUMENTS)  # an end a document, and a byte to finish it


@given(
    p=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=60).filter(lambda p: sum(p) > 0),
)
def test_probabilities_become_whole_numbers_of_a_fixed_sum(p: list[float]) -> None:
    extras = whole(np.array(p) / sum(p))
    assert (extras >= 0).all()
    assert (extras == np.rint(extras)).all()
    assert extras.sum() == TOTAL - len(p)
    assert np.abs((extras + 1) / TOTAL - np.array(p) / sum(p)).max() < (len(p) + 2) / TOTAL
