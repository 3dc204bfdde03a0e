"""Honest byte models and small texts for the tests of the referee; the dishonest ones are in cheats/."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.verify.check import Case, Check, Outcome
from bytegolf.verify.foreign import load_predictor, rebuild
from bytegolf.verify.subject import ForeignSubject

CHEATS = Path(__file__).with_name("cheats")
WORDS = (
    "the",
    "of",
    "and",
    "in",
    "to",
    "a",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
)


class Streaming:
    """Order 1, adaptive: counts of the byte that followed this one, in this document and those before."""

    vocab_size, end = 257, 256
    carries_over = True

    def __init__(self) -> None:
        self.counts = np.full((257, 257), 0.02)
        self.last = 256

    def begin(self, document: int) -> None:
        self.last = 256

    def probabilities(self) -> NDArray[np.float64]:
        row = self.counts[self.last]
        return row / row.sum()

    def observe(self, symbol: int) -> None:
        self.counts[self.last, symbol] += 1
        self.last = symbol


class WholeText:
    """The same model behind the interface of most evaluation code: it is handed the text and writes costs."""

    def score(self, tokens: NDArray[np.int64], write: Callable[[int, Any], None]) -> None:
        model = Streaming()
        model.begin(0)
        for target, symbol in enumerate(tokens[1:].tolist()):
            write(target, -np.log(model.probabilities()[symbol]))
            model.observe(symbol)


class Order0:
    """Counts of the bytes of this document alone: nothing carries over."""

    def begin(self, document: int) -> None:
        self.counts = np.full(257, 0.5)

    def probabilities(self) -> NDArray[np.float64]:
        return self.counts / self.counts.sum()

    def observe(self, symbol: int) -> None:
        self.counts[symbol] += 1


HONEST = ("Streaming", "WholeText", "Order0")


def texts(count: int, seed: str = "a", words: int = 40) -> list[bytes]:
    """Documents of some 150 bytes: frequent words, and now and then one made of random letters."""
    draw = random.Random(seed)

    def word() -> str:
        if draw.random() < 0.8:
            return draw.choice(WORDS)
        return "".join(draw.choice("etaoinshrdlu") for _ in range(draw.randint(3, 9)))

    lengths = [draw.randint(words // 2, words) for _ in range(count)]
    return [(" ".join(word() for _ in range(length)) + ".\n").encode() for length in lengths]


def case_of(spec: str, documents: list[bytes], **fields: Any) -> Case:
    """A case for the predictor FILE.py:FACTORY, which a clean room can build again."""
    return Case(
        ForeignSubject(load_predictor(spec, []), spec), documents, in_clean_room=rebuild(spec, []), **fields
    )


def honest(name: str, documents: list[bytes] | None = None, **fields: Any) -> Case:
    """A case for one of the models above; this file is all that it ships."""
    return case_of(f"{Path(__file__)}:{name}", documents or texts(12), **fields)


def cheat(name: str, folder: Path | None = None, documents: list[bytes] | None = None, **fields: Any) -> Case:
    """A case for cheats/NAME.py. One that needs files gets its own copy of the folder: `make` writes them."""
    file, documents = CHEATS / f"{name}.py", documents or texts(12)
    if folder is not None:
        file = Path(shutil.copy(file, folder))
        load_predictor(f"{file}:make", [])(folder, documents)
    return case_of(f"{file}:factory", documents, **fields)


def run(checks: list[Check], id: str, case: Case) -> Outcome:
    """The outcome of one check."""
    (check,) = [check for check in checks if check.id == id]
    return check.run(case)
