"""The contract: a distribution before each symbol. The fast paths give the scores that the contract gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.model.scored import ScoringError
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.passes import target_nats
from bytegolf.score.predictor import ModelPredictor, drive, drive_lanes
from model_samples import REGISTERED, generic_weights, models, random_ids

TOKENS = np.array([3, 0, 1, 3, 2, 2, 3, 1])  # 3 ends a document


class Diary:
    """A uniform predictor that writes down what happens."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def begin(self, document: int) -> None:
        self.events.append(("begin", document))

    def probabilities(self) -> np.ndarray:
        self.events.append("asked")
        return np.full(4, 0.25)

    def observe(self, symbol: int) -> None:
        self.events.append(symbol)


def test_a_symbol_is_shown_after_its_distribution_and_documents_begin_after_their_end() -> None:
    diary = Diary()
    nats = drive(diary, TOKENS, end=3)
    assert np.allclose(nats, np.log(4))
    expected: list[Any] = [("begin", 0)]
    for symbol in TOKENS[1:].tolist():
        expected += ["asked", symbol]
        if symbol == 3:
            expected.append(("begin", sum(e[0] == "begin" for e in expected if isinstance(e, tuple))))
    assert diary.events == expected


def test_see_gets_the_very_distributions() -> None:
    seen: list[tuple[int, list[float]]] = []
    drive(Diary(), TOKENS, 3, lambda target, p: seen.append((target, p.tolist())))
    assert seen == [(t, [0.25] * 4) for t in range(7)]


@pytest.mark.parametrize("p", [[0.5, 0.5, 0, 0], [1, 2, 1, 1], [np.nan] * 4])
def test_impossible_and_more_than_certain_symbols_have_no_cost(p: list[float]) -> None:
    diary = Diary()
    diary.probabilities = lambda: np.array(p)  # type: ignore[method-assign]
    with pytest.raises(ScoringError):
        drive(diary, np.array([3, 2, 1]), 3)


class Lanes:
    """The last symbol of each lane is likely to come again."""

    def begin(self, documents: Any) -> None:
        self.last = np.full(len(documents), 3)

    def probabilities(self) -> np.ndarray:
        p = np.full((len(self.last), 4), 0.1)
        p[np.arange(len(self.last)), self.last] = 0.7
        return p

    def observe(self, symbols: np.ndarray) -> None:
        self.last = np.where(symbols < 0, self.last, symbols)


class OneLane(Lanes):
    def begin(self, document: Any) -> None:
        super().begin([document])

    def probabilities(self) -> np.ndarray:
        return super().probabilities()[0]

    def observe(self, symbol: Any) -> None:
        super().observe(np.array([symbol]))


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_lanes_score_what_documents_score_one_by_one(symbols: list[int], lanes: int) -> None:
    tokens, seen = np.array([3, *symbols]), dict[int, np.ndarray]()
    nats = drive_lanes(Lanes(), tokens, 3, lanes, seen.__setitem__)
    assert np.allclose(nats, drive(OneLane(), tokens, 3))
    assert sorted(seen) == list(range(len(symbols)))


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=3)
@given(data=st.data())
def test_the_fast_path_scores_what_the_contract_scores(slot: str, kind: str, data: Any) -> None:
    model = data.draw(models(slot, kind))
    length, context = data.draw(st.integers(2, 24)), data.draw(st.integers(1, 9))
    stride, isolated = data.draw(st.integers(1, context)), data.draw(st.booleans())
    tokens = random_ids(model, 1, length, seed=length)[0]
    tokens[0] = model.bos_id
    backend = TorchBackend(model, device="cpu")
    backend.load({name: array.astype(np.float32) for name, array in generic_weights(model).items()})
    backend.gpt.double()
    predictor = ModelPredictor(
        backend, bos_id=model.bos_id, context=context, stride=stride, isolated=isolated
    )
    starts = np.flatnonzero(tokens[:-1] == model.bos_id).tolist() if isolated else [0]
    fast = target_nats(backend, tokens, context, stride, starts)
    assert np.allclose(drive(predictor, tokens, model.bos_id), fast, rtol=0, atol=1e-9)
