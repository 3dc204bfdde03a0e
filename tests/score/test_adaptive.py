"""Score first: costs stand before anything learns from them, and nothing that comes later can change them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bytegolf.config.adaptation import Adaptation
from bytegolf.errors import ConfigError
from bytegolf.model.scored import Scored
from bytegolf.numeric.windows import Window, document_window, plan
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.adaptive import adaptive_nats, cut, document_nats
from bytegolf.score.adaptive_predictor import AdaptivePredictor, DocumentPredictor
from bytegolf.score.passes import target_nats
from bytegolf.score.predictor import drive
from model_samples import generic_weights, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
BOS, STILL = MODEL.bos_id, 1e-300  # a learning rate too small to change any weight
KINDS = {"sgd": {"lr": 0.05, "epochs": 2}, "adamw": {"lr": 0.01}, "lora": {"lr": 0.05, "rank": 2}}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
FULL = pytest.mark.parametrize("kind", ["sgd", "adamw"])
SIZES = st.tuples(st.integers(0, 90), st.integers(1, 12), st.integers(1, 12), st.integers(1, 30)).filter(
    lambda s: s[2] <= s[1]
)


def backend(dtype: torch.dtype = torch.float64) -> TorchBackend:
    made = TorchBackend(MODEL, device="cpu")
    made.load({name: 0.5 * array for name, array in generic_weights(MODEL).items()})
    made.gpt.to(dtype)
    return made


SHARED = backend()


def kind_of(kind: str, **options: Any) -> Any:
    return TypeAdapter(Adaptation).validate_python({"kind": kind, "chunk": 8, **KINDS[kind], **options})


def starts_of(tokens: np.ndarray) -> list[int]:
    return sorted({0, *np.flatnonzero(tokens[:-1] == BOS).tolist()})


def run(kind: str, tokens: np.ndarray, ours: Any = SHARED, **options: Any) -> np.ndarray:
    """Context 10, stride 4, chunks of 8 unless `options` say so."""
    if kind == "lora":
        return document_nats(ours, tokens, starts_of(tokens), 10, kind_of(kind, **options))
    return adaptive_nats(ours, tokens, 10, 4, kind_of(kind, **options))


def text_of(length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 20, length)
    ids[rng.random(length) < 0.08] = BOS
    ids[:1] = BOS
    return ids


@given(SIZES)
def test_cut_windows_score_each_target_once_chunk_by_chunk_from_the_same_start(sizes: Any) -> None:
    targets, context, stride, chunk = sizes
    start_of = {t: w.start for w in plan(targets, context, stride) for t in range(w.first_scored, w.end)}
    pieces = list(cut(plan(targets, context, stride), chunk))
    assert [t for w in pieces for t in range(w.first_scored, w.end)] == list(range(targets))
    for w in pieces:
        assert w.first_scored // chunk == (w.end - 1) // chunk
        assert all(start_of[t] == w.start for t in range(w.first_scored, w.end))


def test_the_first_legal_record_has_1893_chunks() -> None:
    whole = [Window(0, 62_021_632, 0)]
    pieces = list(cut(whole, 32_768))
    assert len(pieces) == 1893
    assert sum(w.end - w.first_scored for w in pieces) == 62_021_632


def test_the_windows_of_a_document_are_the_published_ones_until_the_last() -> None:
    """1,500 targets: (start, inputs, offset, targets scored). Published, the last is (476, 1024, 804, 220)."""
    windows = [document_window(number, 256, 1024) for number in range(6)]
    ends = [min(w.end, 1500) for w in windows]
    assert [
        (w.start, e - w.start, w.first_scored - w.start, e - w.first_scored)
        for w, e in zip(windows, ends, strict=True)
    ] == [
        (0, 256, 0, 256),
        (0, 512, 256, 256),
        (0, 768, 512, 256),
        (0, 1024, 768, 256),
        (256, 1024, 768, 256),
        (512, 988, 768, 220),
    ]


@FULL
@settings(max_examples=6)
@given(sizes=SIZES, seed=st.integers(0, 9), isolated=st.booleans())
def test_weights_that_do_not_move_give_the_plain_score(
    kind: str, sizes: Any, seed: int, isolated: bool
) -> None:
    targets, context, stride, chunk = sizes
    tokens = text_of(targets + 1, seed)
    starts = np.flatnonzero(tokens[:-1] == BOS).tolist() if isolated and targets else [0]
    still = kind_of(kind, chunk=chunk, lr=STILL)
    nats = adaptive_nats(SHARED, tokens, context, stride, still, starts=starts)
    assert np.allclose(nats, target_nats(SHARED, tokens, context, stride, starts), rtol=0, atol=1e-10)


@settings(max_examples=6)
@given(st.integers(0, 60), st.integers(1, 8), st.integers(0, 9), st.integers(1, 5))
def test_documents_that_do_not_learn_cost_what_their_windows_say(
    targets: int, chunk: int, seed: int, documents: int
) -> None:
    tokens = text_of(targets + 1, seed)
    still = kind_of("lora", chunk=chunk, lr=STILL, documents=documents)
    nats = document_nats(SHARED, tokens, starts_of(tokens), 8, still)
    for first, end in pairwise([*starts_of(tokens), targets]):
        for t in range(first, end):
            start = max(0, (t - first) // chunk * chunk + chunk - 8)
            ids = tokens[first + start : t + 1]
            wanted = tokens[first + start + 1 : t + 2]
            assert nats[t] == pytest.approx(SHARED.nll(ids[None], wanted[None])[0, -1], abs=1e-9)


@EVERY_KIND
@settings(max_examples=12)
@given(data=st.data())
def test_nothing_that_comes_later_changes_a_score_already_given(kind: str, data: st.DataObject) -> None:
    tokens = text_of(data.draw(st.integers(2, 60)), data.draw(st.integers(0, 9)))
    known = data.draw(st.integers(1, len(tokens)))  # tokens[:known] stay
    rest = tokens[known:]
    how = data.draw(st.sampled_from(["shuffled", "replaced", "cut", "longer"]))
    later = {
        "shuffled": np.random.default_rng(0).permutation(rest),
        "replaced": (rest + 1 + data.draw(st.integers(0, 18))) % 20,
        "cut": rest[: data.draw(st.integers(0, len(rest)))],
        "longer": np.concatenate((rest, text_of(30, 77))),
    }[how]
    options = {"chunk": data.draw(st.integers(1, 10))}
    if kind == "lora":
        options["documents"] = data.draw(st.integers(1, 4))
    before = run(kind, tokens, **options)
    after = run(kind, np.concatenate((tokens[:known], later)), **options)
    assert np.allclose(before[: known - 1], after[: known - 1], rtol=0, atol=1e-11)


@FULL
def test_with_the_same_shapes_the_scores_are_the_same_to_the_bit(kind: str) -> None:
    tokens = text_of(57)
    other = np.concatenate((tokens[:33], np.random.default_rng(1).permutation(tokens[33:])))
    single = backend(torch.float32)
    assert np.array_equal(run(kind, tokens, single)[:32], run(kind, other, single)[:32])


@settings(max_examples=10)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_a_document_costs_the_same_among_any_others_and_in_any_order(
    order: list[int], documents: int
) -> None:
    texts = [np.concatenate(([BOS], 2 + text_of(n, n) % 18)) for n in (3, 30, 17, 8, 30)]
    texts = [np.where(text == BOS, 2, text) for text in texts]
    for text in texts:
        text[0] = BOS
    alone = [run("lora", text) for text in texts]
    nats = run("lora", np.concatenate([texts[d] for d in order]), documents=documents)
    first = 0
    for d in order:
        assert np.allclose(nats[first : first + len(alone[d])], alone[d], rtol=0, atol=1e-10)
        first += len(texts[d])


class Witness:
    """A backend whose adapters note what they score and what they learn from."""

    def __init__(self, ours: TorchBackend) -> None:
        self.ours = ours
        self.scored: list[int] = []  # how many forwards had been asked for when each chunk was learnt from
        self.learnt: list[tuple[int, int]] = []
        self.forwards = 0

    def _watch(self, adapter: Any) -> Any:
        nll, adapt = adapter.nll, adapter.adapt

        def noted_nll(*arguments: Any) -> Any:
            self.forwards += 1
            return nll(*arguments)

        def noted_adapt(scored: Any) -> None:
            for chunk in scored.values() if isinstance(scored, dict) else [scored]:
                assert isinstance(chunk, Scored)
                self.learnt.append((chunk.first, chunk.end))
            self.scored.append(self.forwards)
            adapt(scored)

        adapter.nll, adapter.adapt = noted_nll, noted_adapt
        return adapter

    def adapter(self, *arguments: Any) -> Any:
        return self._watch(self.ours.adapter(*arguments))

    def document_adapter(self, *arguments: Any) -> Any:
        return self._watch(self.ours.document_adapter(*arguments))


@FULL
def test_every_chunk_but_the_last_is_learnt_from_once_it_was_scored(kind: str) -> None:
    witness = Witness(backend())
    run(kind, text_of(31), witness)
    assert witness.learnt == [(0, 8), (8, 16), (16, 24)]
    assert witness.scored == sorted(set(witness.scored))
    assert witness.scored[0] > 0
    assert witness.scored[-1] < witness.forwards


def test_every_chunk_of_a_document_but_its_last_is_learnt_from() -> None:
    witness = Witness(backend())
    text = np.concatenate(([BOS], np.full(17, 5), [BOS], np.full(8, 6), [BOS], np.full(16, 7)))
    run("lora", text, witness)
    assert sorted(witness.learnt) == [(0, 8), (8, 16), (18, 26), (27, 35)]


@EVERY_KIND
def test_what_repeats_gets_cheaper_and_the_weights_come_back(kind: str) -> None:
    phrase = np.random.default_rng(3).integers(2, 20, 24)
    tokens = np.concatenate(([BOS], np.tile(phrase, 8)))
    for dtype in (torch.float32, torch.float64):
        ours = backend(dtype)
        before = {n: p.detach().clone() for n, p in ours.gpt.named_parameters()}
        assert run(kind, tokens, ours).sum() < run(kind, tokens, ours, lr=STILL).sum() - 10
        assert all(torch.equal(p, before[n]) for n, p in ours.gpt.named_parameters())


@FULL
def test_a_pass_that_breaks_off_gives_the_weights_back(kind: str) -> None:
    ours = backend()
    before = {n: p.detach().clone() for n, p in ours.gpt.named_parameters()}
    moved: list[bool] = []

    def stop(share: float) -> None:
        moved.append(any(not torch.equal(p, before[n]) for n, p in ours.gpt.named_parameters()))
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adaptive_nats(ours, text_of(57), 10, 4, kind_of(kind), report=stop)
    assert all(moved)
    assert all(torch.equal(p, before[n]) for n, p in ours.gpt.named_parameters())


@EVERY_KIND
def test_the_distributions_are_those_that_the_scores_came_from(kind: str) -> None:
    tokens, kept = text_of(57), {0, 7, 8, 30, 31, 55}
    seen: dict[int, np.ndarray] = {}
    options: dict[str, Any] = {"keep": kept, "see": seen.__setitem__}
    if kind == "lora":
        nats = document_nats(SHARED, tokens, starts_of(tokens), 10, kind_of(kind), **options)
    else:
        nats = adaptive_nats(SHARED, tokens, 10, 4, kind_of(kind), **options)
    assert seen.keys() == kept
    for t, p in seen.items():
        assert p.sum() == pytest.approx(1, abs=1e-9)
        assert -np.log(p[tokens[t + 1]]) == pytest.approx(nats[t], abs=1e-9)
    assert np.allclose(nats, run(kind, tokens), rtol=0, atol=1e-12)


@EVERY_KIND
def test_progress_rises_to_one(kind: str) -> None:
    shares: list[float] = []
    if kind == "lora":
        document_nats(
            SHARED, text_of(57), starts_of(text_of(57)), 10, kind_of(kind, documents=2), shares.append
        )
    else:
        adaptive_nats(SHARED, text_of(57), 10, 4, kind_of(kind), report=shares.append)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert len(shares) > 3


@EVERY_KIND
@pytest.mark.parametrize("length", [0, 1, 2])
def test_hardly_any_text_is_no_trouble(kind: str, length: int) -> None:
    assert len(run(kind, text_of(length))) == max(0, length - 1)


def test_a_chunk_longer_than_the_context_of_a_document_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="fit into the context"):
        run("lora", text_of(30), chunk=11)


def test_only_the_book_of_scores_makes_a_scored_and_only_training_takes_gradients() -> None:
    """The illegal form, learning from a text before it is scored, has no place to stand in."""
    root = Path(__file__).parents[2] / "src" / "bytegolf"
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*.py"))}
    assert {path for path, text in sources.items() if "_seal" in text} == {"model/scored.py"}
    learners = {
        path for path, text in sources.items() if "autograd.backward" in text or "autograd.grad" in text
    }
    assert learners == {"on_torch/trainer.py", "on_torch/adapt/full.py", "on_torch/adapt/lora.py"}
    assert not [path for path, text in sources.items() if ".backward()" in text]


@EVERY_KIND
@settings(max_examples=6)
@given(length=st.integers(2, 60), seed=st.integers(0, 9), chunk=st.integers(3, 9), isolated=st.booleans())
def test_the_fast_path_scores_what_the_contract_scores(
    kind: str, length: int, seed: int, chunk: int, isolated: bool
) -> None:
    tokens = text_of(length, seed)
    tokens[0] = BOS
    options = kind_of(kind, chunk=chunk, epochs=1) if kind != "lora" else kind_of(kind, chunk=chunk)
    if kind == "lora":
        predictor = DocumentPredictor(SHARED, options, bos_id=BOS, context=10)
        slow = drive(predictor, tokens, BOS)
        fast = document_nats(SHARED, tokens, starts_of(tokens), 10, options)
    else:
        sizes = {"context": 10, "stride": 4, "bos_id": BOS, "isolated": isolated}
        with AdaptivePredictor(SHARED, options, **sizes) as learning:
            slow = drive(learning, tokens, BOS)
        starts = starts_of(tokens) if isolated else [0]
        fast = adaptive_nats(SHARED, tokens, 10, 4, options, starts=starts)
    assert np.allclose(slow, fast, rtol=0, atol=1e-8)
