"""The score is the definition, window by window and target by target; nothing is counted twice or left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.on_torch import backend as backend_module
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score import bpb
from bytegolf.score.bpb import score, target_nats
from bytegolf.score.windows import plan
from model_samples import generic_weights, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
WEIGHTS = {name: array.astype(np.float32) for name, array in generic_weights(MODEL).items()}
TOKENS = np.random.default_rng(0).integers(0, 20, 40).astype(np.uint16)
SIZES = st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(1, 12)).filter(lambda s: s[2] <= s[1])


def backend(weights: dict[str, np.ndarray] = WEIGHTS) -> TorchBackend:
    made = TorchBackend(MODEL, device="cpu")
    made.load(weights)
    made.gpt.double()
    return made


SHARED = backend()


def cost(ids: np.ndarray, target: int) -> float:
    """-ln p(target | ids) from the logits of the position after ids, one forward for one target."""
    logits = SHARED.next_logits(ids.astype(np.int64))
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target])


@settings(max_examples=12)
@given(SIZES)
def test_every_target_costs_what_its_window_alone_says(sizes: tuple[int, int, int]) -> None:
    length, context, stride = sizes
    tokens = TOKENS[:length]
    nats = target_nats(SHARED, tokens, context, stride)
    expected = np.full(length - 1, np.nan)
    for window in plan(length - 1, context, stride):
        for t in range(window.first_scored, window.end):
            assert np.isnan(expected[t])
            expected[t] = cost(tokens[window.start : t + 1], tokens[t + 1])
    assert np.allclose(nats, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("limit", [1, 13, 50, 10**6])
def test_the_size_of_a_batch_does_not_matter(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = target_nats(SHARED, TOKENS, 6, 2)
    monkeypatch.setattr(bpb, "TOKENS_PER_BATCH", limit)
    assert np.allclose(target_nats(SHARED, TOKENS, 6, 2), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 250, 10**6])
def test_the_size_of_a_piece_of_logits_does_not_matter(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = target_nats(SHARED, TOKENS, 6, 2)
    monkeypatch.setattr(backend_module, "MOST_LOGITS", limit)
    assert np.allclose(target_nats(SHARED, TOKENS, 6, 2), expected, rtol=0, atol=1e-12)


def test_a_shorter_stride_gives_more_context_and_the_full_context_is_all_there_is() -> None:
    whole = target_nats(SHARED, TOKENS, 40, 40)
    assert np.allclose(whole, [cost(TOKENS[: t + 1], TOKENS[t + 1]) for t in range(39)], atol=1e-10)
    assert np.allclose(target_nats(SHARED, TOKENS, 6, 1)[:6], whole[:6], atol=1e-12)


def test_a_uniform_model_costs_the_log_of_its_vocabulary() -> None:
    uniform = backend({**WEIGHTS, "embed.weight": np.zeros((20, 16), np.float32)})
    result = score(uniform, TOKENS, n_bytes=100, documents=3, text_sha256="0" * 64, context=6, stride=2)
    assert result.bpb == pytest.approx(math.log2(20) * 39 / 100)
    assert result.nats_per_token == pytest.approx(math.log(20))
    facts = (result.targets, result.bytes, result.documents, result.context, result.stride)
    assert facts == (39, 100, 3, 6, 2)
    assert result.to_json()["text_sha256"] == "0" * 64


def test_bpb_is_the_sum_of_the_targets_over_the_bytes() -> None:
    result = score(SHARED, TOKENS, n_bytes=77, documents=1, text_sha256="", context=6, stride=3)
    nats = target_nats(SHARED, TOKENS, 6, 3)
    assert result.bpb == pytest.approx(nats.sum() / math.log(2) / 77, rel=1e-12)
    assert result.nats_per_token == pytest.approx(nats.mean(), rel=1e-12)


def test_progress_rises_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpb, "TOKENS_PER_BATCH", 12)
    shares: list[float] = []
    target_nats(SHARED, TOKENS, 6, 2, shares.append)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert len(shares) > 3


def test_a_plan_that_scores_a_target_twice_or_leaves_one_out_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows = list(plan(39, 6, 2))

    def with_last_twice(*sizes: int) -> Iterator[object]:
        return iter([*windows, windows[-1]])

    monkeypatch.setattr(bpb, "plan", with_last_twice)
    with pytest.raises(AssertionError, match="only once"):
        target_nats(SHARED, TOKENS, 6, 2)
    monkeypatch.setattr(bpb, "plan", lambda *sizes: iter(windows[:-1]))
    with pytest.raises(AssertionError, match="every target"):
        target_nats(SHARED, TOKENS, 6, 2)
