"""The fast paths are the definition, window by window, target by target; nothing counts twice or is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Model
from bytegolf.model.scored import ScoringError
from bytegolf.numeric.windows import Window, plan
from bytegolf.on_numpy import forward
from bytegolf.on_torch import backend as backend_module
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score import passes
from bytegolf.score.passes import score_windows, target_nats
from model_samples import REGISTERED, generic_weights, models, random_ids, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
TOKENS = np.random.default_rng(0).integers(0, 20, 40).astype(np.uint16)
SIZES = st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(1, 12)).filter(lambda s: s[2] <= s[1])


def backend(model: Model, weights: dict[str, np.ndarray]) -> TorchBackend:
    """Computes in float64."""
    made = TorchBackend(model, device="cpu")
    made.load({name: array.astype(np.float32) for name, array in weights.items()})
    made.gpt.double()
    return made


def naive(
    model: Model, weights: dict[str, np.ndarray], tokens: np.ndarray, windows: Iterator[Window]
) -> np.ndarray:
    """One window at a time, all of it, by the definition of the model in numpy."""
    exact = {name: array.astype(np.float32) for name, array in weights.items()}
    nats = np.full(len(tokens) - 1, np.nan)
    for w in windows:
        costs = forward.nll(model, exact, tokens[w.start : w.end], tokens[w.start + 1 : w.end + 1])
        assert np.isnan(nats[w.first_scored : w.end]).all()
        nats[w.first_scored : w.end] = costs[w.first_scored - w.start :]
    return nats


WEIGHTS = generic_weights(MODEL)
SHARED = backend(MODEL, WEIGHTS)


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=4)
@given(data=st.data())
def test_sliding_isolated_and_plain_scores_are_the_naive_ones(slot: str, kind: str, data: Any) -> None:
    model = data.draw(models(slot, kind))
    length, context, stride = data.draw(SIZES)  # windows may be longer than training
    tokens = random_ids(model, 1, length, seed=length)[0]
    tokens[0] = model.bos_id
    starts = np.flatnonzero(tokens[:-1] == model.bos_id).tolist()
    weights = generic_weights(model)
    torch_twin = backend(model, weights)
    for step, begins in ((stride, [0]), (context, [0]), (stride, starts)):
        expected = naive(model, weights, tokens, plan(length - 1, context, step, begins))
        nats = target_nats(torch_twin, tokens, context, step, begins)
        assert np.allclose(nats, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=6)
@given(data=st.data())
def test_the_last_positions_alone_are_those_of_the_whole_row(slot: str, kind: str, data: Any) -> None:
    model = data.draw(models(slot, kind))
    rows, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 24))
    last = data.draw(st.integers(1, length))
    ids, targets = random_ids(model, rows, length), random_ids(model, rows, length, seed=1)
    twin = backend(model, generic_weights(model))
    whole = twin.nll(ids, targets)
    assert np.allclose(twin.nll(ids, targets, last), whole[:, -last:], rtol=0, atol=1e-10)
    log_p = twin.log_probabilities(ids, last)
    assert log_p.shape == (rows, last, model.vocab_size)
    assert np.allclose(np.exp(log_p).sum(-1), 1)
    picked = np.take_along_axis(log_p, targets[:, -last:, None], axis=-1)[..., 0]
    assert np.allclose(picked, -whole[:, -last:], rtol=0, atol=1e-10)


def test_a_window_of_attention_lets_the_last_positions_skip_what_they_cannot_see() -> None:
    parts = {"kind": "gqa", "heads": 2, "kv_heads": 1}
    tree = MODEL.model_dump() | {"layers": 3}
    narrow = TorchBackend(Model.model_validate(tree | {"attention": {**parts, "window": 4}}), device="cpu")
    full = TorchBackend(Model.model_validate(tree | {"attention": parts}), device="cpu")
    assert narrow.gpt.tails(100, 10) == [19, 16, 13, 10]
    assert full.gpt.tails(100, 10) == [100, 100, 100, 10]
    assert narrow.gpt.tails(12, 10) == [12, 12, 12, 10]
    assert narrow.gpt.tails(12, 12) == [12] * 4


@settings(max_examples=12)
@given(SIZES)
def test_kept_distributions_are_those_the_targets_were_scored_with(sizes: tuple[int, int, int]) -> None:
    length, context, stride = sizes
    nats = np.full(length - 1, np.nan)
    seen: dict[int, np.ndarray] = {}

    def write(first: int, costs: np.ndarray) -> None:
        nats[first : first + len(costs)] = costs

    keep = range(0, length - 1, 3)
    windows = plan(length - 1, context, stride)
    score_windows(SHARED, TOKENS[:length].astype(np.int64), windows, write, keep, seen.__setitem__)
    assert sorted(seen) == list(keep)
    for t, p in seen.items():
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert -np.log(p[TOKENS[t + 1]]) == pytest.approx(nats[t], abs=1e-10)


@pytest.mark.parametrize("limit", [1, 13, 50, 10**6])
def test_the_size_of_a_batch_does_not_matter(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = target_nats(SHARED, TOKENS, 6, 2, [0, 3, 30])
    monkeypatch.setattr(passes, "TOKENS_PER_BATCH", limit)
    assert np.allclose(target_nats(SHARED, TOKENS, 6, 2, [0, 3, 30]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 250, 10**6])
def test_the_size_of_a_piece_of_logits_does_not_matter(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = target_nats(SHARED, TOKENS, 6, 2)
    monkeypatch.setattr(backend_module, "MOST_LOGITS", limit)
    assert np.allclose(target_nats(SHARED, TOKENS, 6, 2), expected, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(2, 38), st.integers(1, 12), st.integers(1, 12), st.sampled_from(["cut", "other", "back"]))
def test_what_comes_later_changes_no_score(cut: int, context: int, stride: int, how: str) -> None:
    stride = min(stride, context)
    after = TOKENS[cut:]
    changed = {"cut": after[:0], "other": (after + 7) % 20, "back": after[::-1]}[how]
    nats = target_nats(SHARED, np.concatenate((TOKENS[:cut], changed)), context, stride)
    assert np.allclose(nats[: cut - 1], target_nats(SHARED, TOKENS, context, stride)[: cut - 1], atol=1e-12)


def test_an_isolated_document_knows_nothing_of_its_neighbours() -> None:
    other = TOKENS.copy()
    other[:12] = (other[:12] + 3) % 20
    starts = [0, 12, 25]
    alone = target_nats(SHARED, TOKENS, 6, 2, starts)
    assert np.array_equal(target_nats(SHARED, other, 6, 2, starts)[12:], alone[12:])
    assert np.allclose(target_nats(SHARED, TOKENS[12:26], 6, 2), alone[12:25], rtol=0, atol=1e-12)
    stream = target_nats(SHARED, TOKENS, 6, 2)
    assert not np.allclose(target_nats(SHARED, other, 6, 2)[12:14], stream[12:14])


def test_progress_rises_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "TOKENS_PER_BATCH", 12)
    shares: list[float] = []
    target_nats(SHARED, TOKENS, 6, 2, report=shares.append)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert len(shares) > 3


def test_a_plan_that_scores_a_target_twice_or_leaves_one_out_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows = list(plan(39, 6, 2))
    monkeypatch.setattr(passes, "plan", lambda *sizes: iter([*windows, windows[-1]]))
    with pytest.raises(ScoringError, match="only once"):
        target_nats(SHARED, TOKENS, 6, 2)
    monkeypatch.setattr(passes, "plan", lambda *sizes: iter(windows[:-1]))
    with pytest.raises(ScoringError, match="must be scored"):
        target_nats(SHARED, TOKENS, 6, 2)
