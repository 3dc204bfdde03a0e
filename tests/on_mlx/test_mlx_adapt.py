"""Test-time training on MLX: a text costs what it does on torch; graded text alone is learnt from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from twins import Pair, generic_twins

# isort: split
import mlx.core as mx

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.config.schema import Score as Settings
from bytegolf.errors import ConfigError, TrainingDivergedError
from bytegolf.model.scored import Scored, Scores, ScoringError
from bytegolf.on_mlx import backend as backend_module
from bytegolf.on_mlx.linear import Changed, linear
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from model_samples import random_ids, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "chunk": 13, "epochs": 2, "rows": 2, "lr": 0.5, "decay_chunks": 9},
    "sgd without momentum": {"kind": "sgd", "chunk": 9, "lr": 0.05, "momentum": 0.0, "clip": 0.0},
    "adamw": {"kind": "adamw", "chunk": 20, "epochs": 1, "rows": 3, "lr": 0.01, "weight_decay": 0.1},
    "adamw, some": {"kind": "adamw", "chunk": 7, "lr": 0.02, "freeze": ["embed", "blocks.0"]},
    "lora": {"kind": "lora", "chunk": 5, "rank": 2, "lr": 0.05, "documents": 3},
    "lora, more": {
        "kind": "lora",
        "chunk": 4,
        "rank": 1,
        "steps": 2,
        "lr": 0.2,
        "parts": ["mlp.fc", "attention.proj"],
    },
}


def held_out() -> HeldOut:
    ids = np.random.default_rng(3).integers(1, 5, 120)
    starts = (0, 50, 90)
    ids[list(starts)] = MODEL.bos_id
    return HeldOut.of_text(ids.astype(np.uint16), starts, bytes(len(ids)))


def chunks(text: np.ndarray, size: int) -> list[Scored]:
    book = Scores(text)
    return [
        book.write(a, np.zeros(b - a)) for a, b in pairwise([*range(0, book.targets, size), book.targets])
    ]


def pair() -> Pair:
    return generic_twins(MODEL, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_costs_what_it_costs_on_torch(kind: str) -> None:
    documents = "isolated" if KINDS[kind]["kind"] == "lora" else "stream"
    tables = ({"kind": "none"}, KINDS[kind])
    plain, adapted = (
        Settings.model_validate({"context": 12, "stride": 6, "documents": documents, "adaptation": table})
        for table in tables
    )
    on_torch, on_mlx = pair()
    before = on_mlx.weights()
    expected, found = (score(backend, held_out(), adapted) for backend in (on_torch, on_mlx))
    assert found.bpb == pytest.approx(expected.bpb, rel=1e-5)
    assert abs(found.bpb - score(on_mlx, held_out(), plain).bpb) > 1e-3 * found.bpb
    assert all(np.array_equal(array, before[name]) for name, array in on_mlx.weights().items())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weights_come_back_after_an_error_too(kind: str) -> None:
    _, backend = pair()
    before = backend.weights()
    settings = Settings.model_validate({"stride": 1, "adaptation": {**KINDS[kind], "clip": 0.0, "lr": 1e30}})
    text = chunks(random_ids(MODEL, 1, 60)[0], 10)

    def diverge() -> None:
        with backend.adapter(settings.adaptation) as adapter:
            for chunk in text:
                adapter.adapt(chunk)

    with pytest.raises(TrainingDivergedError, match="must stay finite"):
        diverge()
    assert all(np.array_equal(array, before[name]) for name, array in backend.weights().items())


def test_what_is_not_graded_or_out_of_order_is_refused() -> None:
    _, backend = pair()
    text = chunks(random_ids(MODEL, 1, 40)[0], 5)
    settings = Settings.model_validate({"stride": 1, "adaptation": KINDS["sgd"]})
    with backend.adapter(settings.adaptation) as adapter:
        with pytest.raises(TypeError, match="Scored"):
            adapter.adapt(np.arange(5))  # type: ignore[arg-type]
        with pytest.raises(ScoringError, match="in order"):
            adapter.adapt(text[1])
    documents = backend.document_adapter(LoraAdaptation.model_validate(KINDS["lora"]), 12)
    documents.begin(2)
    documents.adapt({0: text[0]})
    with pytest.raises(ScoringError, match="in order"):
        documents.adapt({0: text[3]})


def test_documents_do_not_depend_on_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together, alone, or in pieces of one row: the same change for each."""
    _, backend = pair()
    kind = LoraAdaptation.model_validate(KINDS["lora"])
    texts = [random_ids(MODEL, 1, 21, seed)[0] for seed in range(3)]
    ids = np.stack([text[:9] for text in texts])

    def costs(documents: list[int]) -> dict[int, np.ndarray]:
        adapter = backend.document_adapter(kind, 12)
        adapter.begin(3)
        for step in zip(*(chunks(texts[d], 5) for d in documents), strict=True):
            adapter.adapt(dict(zip(documents, step, strict=True)))
        found = adapter.nll(ids[documents][:, :-1], ids[documents][:, 1:], documents)
        return dict(zip(documents, found, strict=True))

    together = costs([0, 1, 2])
    monkeypatch.setattr(backend_module, "MOST_LOGITS", 1)
    for document, expected in costs([0, 1, 2]).items():
        assert np.allclose(together[document], expected, rtol=0, atol=1e-5)
        assert np.allclose(costs([document])[document], expected, rtol=0, atol=1e-5)
    assert not np.allclose(together[0], backend.nll(ids[:1, :-1], ids[:1, 1:])[0], atol=1e-3)


def test_a_chunk_that_does_not_fit_is_refused() -> None:
    _, backend = pair()
    with pytest.raises(ConfigError, match="must fit into the context"):
        backend.document_adapter(LoraAdaptation.model_validate({"kind": "lora", "chunk": 20}), 12)


def test_a_change_that_no_product_used_is_a_bug() -> None:
    w, x = mx.ones((2, 3)), mx.ones((1, 4, 3))
    change = (w, mx.ones((1, 1, 3)), mx.ones((1, 2, 1)))
    with Changed([change]):
        assert linear(x, w).tolist() == [[[6.0, 6.0]] * 4]
        assert linear(x, mx.ones((2, 3))).tolist() == [[[3.0, 3.0]] * 4]
    assert linear(x, w).tolist() == [[[3.0, 3.0]] * 4]
    with pytest.raises(AssertionError, match="took no part"), Changed([change]):
        pass
    with pytest.raises(AssertionError, match="do not add up"), Changed([change]), Changed([change]):
        pass
