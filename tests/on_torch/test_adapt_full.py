"""Full weights learn exactly what the algorithm says, from graded chunks alone, and go back to what they were."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bytegolf.config.adaptation import Adaptation
from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError, TrainingDivergedError
from bytegolf.model.adapted import trained_tensors
from bytegolf.model.scored import Scored, Scores, ScoringError
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.gpt import Gpt
from model_samples import generic_weights, models, random_ids, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
KINDS = {"sgd": {"lr": 0.05}, "adamw": {"lr": 0.01, "weight_decay": 0.1}}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def adaptation(kind: str, **options: Any) -> Any:
    return TypeAdapter(Adaptation).validate_python({"kind": kind, **KINDS[kind], **options})


def backend(model: Model = MODEL, dtype: torch.dtype = torch.float64) -> TorchBackend:
    made = TorchBackend(model, device="cpu")
    made.load(generic_weights(model))
    made.gpt.to(dtype)
    return made


def graded(tokens: np.ndarray, *sizes: int) -> list[Scored]:
    """Chunks of these sizes from the start of the text, all graded at no cost."""
    book, ends = Scores(tokens), np.cumsum(sizes)
    return [book.write(int(end) - size, np.zeros(size)) for end, size in zip(ends, sizes, strict=True)]


def bits(gpt: Gpt) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in gpt.named_parameters()}


def written_out(gpt: Gpt, model: Model, kind: Any, text: np.ndarray, sizes: list[int]) -> Gpt:
    """The same training on a copy, row by row, by torch's optimizers and a clipping by hand."""
    gpt = copy.deepcopy(gpt)
    trained = [p for name, p in gpt.named_parameters() if name in trained_tensors(model, kind.freeze)]
    if kind.kind == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(trained, lr=1.0, momentum=kind.momentum)
    else:
        optimizer = torch.optim.AdamW(trained, betas=kind.betas, eps=kind.eps, weight_decay=kind.weight_decay)
    tokens, first = torch.tensor(text), 0
    for c, size in enumerate(sizes):
        lr = kind.lr * (0.5 * (1 + math.cos(math.pi * c / kind.decay_chunks)) if kind.decay_chunks else 1)
        if kind.decay_chunks and c >= kind.decay_chunks:
            break
        optimizer.param_groups[0]["lr"] = lr
        edges = [*range(first, first + size, model.context), first + size]
        rows = [(tokens[a:b], tokens[a + 1 : b + 1]) for a, b in pairwise(edges)]
        for _ in range(kind.epochs):
            for i in range(0, len(rows), kind.rows):
                gpt.zero_grad()
                torch.cat(
                    [gpt.nll(x[None], y[None])[0] for x, y in rows[i : i + kind.rows]]
                ).mean().backward()
                with_gradient = [p for p in trained if p.grad is not None]
                norm = torch.cat([p.grad.flatten() for p in with_gradient]).norm()
                for p in with_gradient:
                    p.grad *= min(1.0, kind.clip / (norm + 1e-6)) if kind.clip else 1.0
                optimizer.step()
        first += size
    return gpt


@EVERY_KIND
@settings(max_examples=12)
@given(data=st.data())
def test_it_learns_what_the_algorithm_written_out_learns(kind: str, data: st.DataObject) -> None:
    model = data.draw(models())
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    options = adaptation(
        kind,
        epochs=data.draw(st.integers(1, 3)),
        rows=data.draw(st.integers(1, 3)),
        clip=data.draw(st.sampled_from([0.0, 0.1, 1.0])),
        decay_chunks=data.draw(st.sampled_from([0, 2, 5])),
        freeze=data.draw(st.sampled_from([(), ("embed",), ("matrix", "blocks.0")])),
    )
    text = random_ids(model, 1, sum(sizes) + 1, seed=data.draw(st.integers(0, 9)))[0]
    ours = backend(model)
    expected = written_out(ours.gpt, model, options, text, sizes)
    with ours.adapter(options) as adapter:
        for chunk in graded(text, *sizes):
            adapter.adapt(chunk)
        for name, parameter in ours.gpt.named_parameters():
            assert torch.allclose(parameter, expected.get_parameter(name), rtol=0, atol=1e-9), name
        ids = random_ids(model, 2, 5)
        logits = expected(torch.tensor(ids))
        nll = expected.nll(torch.tensor(ids), torch.tensor(ids)).detach().numpy()
        assert np.allclose(adapter.nll(ids, ids), nll, rtol=0, atol=1e-7)
        assert np.allclose(adapter.nll(ids, ids, 2), nll[:, -2:], rtol=0, atol=1e-7)
        p = logits.log_softmax(dim=-1).detach().numpy()
        assert np.allclose(adapter.log_probabilities(ids, 3), p[:, -3:], rtol=0, atol=1e-7)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_come_back_bit_for_bit_and_so_does_all_else(kind: str, dtype: torch.dtype) -> None:
    ours = backend(dtype=dtype)
    before = bits(ours.gpt)
    text = random_ids(MODEL, 1, 41)[0]
    first = ours.gpt.embed.weight
    first.requires_grad_(False)
    gradient = ours.gpt.plan.skips.grad = torch.ones_like(ours.gpt.plan.skips)
    adapter = ours.adapter(adaptation(kind))
    outcomes = []
    for _ in range(2):  # an adapter that is entered again starts again
        with adapter:
            for chunk in graded(text, 20, 20):
                adapter.adapt(chunk)
            outcomes.append(bits(ours.gpt))
        assert bits(ours.gpt) == before
    assert outcomes[0] == outcomes[1]
    assert all(outcomes[0][name] != before[name] for name in before)
    assert not first.requires_grad
    assert ours.gpt.plan.skips.grad is gradient
    assert all(p.requires_grad for p in ours.gpt.parameters() if p is not first)
    assert [p.grad is None for p in ours.gpt.parameters()].count(False) == 1


@EVERY_KIND
def test_the_weights_come_back_after_an_error_too(kind: str) -> None:
    ours = backend()
    before = bits(ours.gpt)
    chunks = graded(random_ids(MODEL, 1, 41)[0], 20, 20)

    def leave_in_the_middle() -> None:
        with ours.adapter(adaptation(kind)) as adapter:
            adapter.adapt(chunks[0])
            assert bits(ours.gpt) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_in_the_middle()
    assert bits(ours.gpt) == before


@EVERY_KIND
def test_a_chunk_must_be_graded_and_the_next_one(kind: str) -> None:
    ours = backend()
    text = random_ids(MODEL, 1, 41)[0]
    first, second, third = graded(text, 10, 10, 10)
    forged = type("Scored", (), {"first": 0, "end": 10, "tokens": text[:11], "nats": np.zeros(10)})()
    for wrong in (text[:11], None, (0, text[:11]), {"first": 0}, forged):
        with ours.adapter(adaptation(kind)) as adapter, pytest.raises(TypeError, match="Scored"):
            adapter.adapt(wrong)
    for before, wrong in (([], second), ([first], third), ([first], first), ([first, second], first)):
        with ours.adapter(adaptation(kind)) as adapter:
            for chunk in before:
                adapter.adapt(chunk)
            weights = bits(ours.gpt)
            with pytest.raises(ScoringError, match="without gaps"):
                adapter.adapt(wrong)
            assert bits(ours.gpt) == weights


def test_nothing_but_a_book_of_scores_makes_a_scored() -> None:
    with pytest.raises(TypeError, match=r"Scores\.write"):
        Scored(object(), 0, np.zeros(2, np.int64), np.zeros(1))


@EVERY_KIND
def test_a_learning_rate_that_fell_to_nothing_learns_nothing_more(kind: str) -> None:
    ours = backend()
    first, second, third = graded(random_ids(MODEL, 1, 41)[0], 10, 10, 10)
    with ours.adapter(adaptation(kind, decay_chunks=2)) as adapter:
        seen = [bits(ours.gpt)]
        for chunk in (first, second, third):
            adapter.adapt(chunk)
            seen.append(bits(ours.gpt))
    assert [a == b for a, b in pairwise(seen)] == [False, False, True]


@EVERY_KIND
@settings(max_examples=10)
@given(data=st.data())
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(kind: str, data: st.DataObject) -> None:
    model = data.draw(models("mixer", "bigram_hash"))
    roles = manifest(model).roles()
    starts = {".".join(name.split(".")[:n]) for name in roles for n in range(1, 5)}
    words = data.draw(st.lists(st.sampled_from(sorted({*starts, *roles.values()})), max_size=3))
    try:
        trained = set(trained_tensors(model, words))
    except ConfigError:
        return
    ours = backend(model)
    before = bits(ours.gpt)
    text = np.concatenate([np.arange(model.vocab_size)] * 4)
    with ours.adapter(adaptation(kind, freeze=words, rows=4)) as adapter:
        adapter.adapt(graded(text, len(text) - 1)[0])
        after = bits(ours.gpt)
    moved = {name for name in roles if before[name] != after[name]}
    assert moved <= trained
    assert "embed.weight" in moved or "embed.weight" not in trained


ALL = list(manifest(MODEL).roles())


@pytest.mark.parametrize(
    ("words", "frozen"),
    [
        (["embed"], ["embed.weight"]),
        (["embed.mixers"], [n for n in ALL if n.startswith("embed.mixers")]),
        (["blocks.1"], [n for n in ALL if n.startswith("blocks.1.")]),
        (["blocks.0.mlp.fc", "plan"], ["blocks.0.mlp.fc", "plan.skips"]),
        (["gate"], ["embed.mixers.1.gate"]),
        (["table", "matrix"], [n for n in ALL if manifest(MODEL).roles()[n] in ("table", "matrix")]),
    ],
)
def test_a_word_freezes_a_role_or_else_what_its_name_begins_with(words: list[str], frozen: list[str]) -> None:
    assert trained_tensors(MODEL, words) == [name for name in ALL if name not in frozen]


def test_a_name_ends_at_a_dot() -> None:
    model = system(layers=11, dim=16, hidden=8).model_copy(update={"vocab_size": 20})
    assert "blocks.10.mlp.fc" in trained_tensors(model, ["blocks.1"])
    with pytest.raises(ConfigError):
        trained_tensors(model, ["blocks.10.ml"])


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("embd", "'embed'"),
        ("blocks.2", "'blocks.1'"),
        ("blocks.0.mlp.fx", "'blocks.0.mlp.fc'"),
        ("head", "known: blocks, embed"),
        ("mlp", "known: blocks, embed"),
        ("", "known: blocks, embed"),
        ("blocks.", "'blocks.0'"),
    ],
)
def test_a_word_that_names_nothing_is_a_mistake_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backend().adapter(adaptation("sgd", freeze=["gate", word]))
    assert caught.value.where == "score.adaptation.freeze"
    assert hint in str(caught.value.fix)


def test_something_must_be_left_to_learn() -> None:
    with pytest.raises(ConfigError, match="not frozen") as caught:
        backend().adapter(adaptation("adamw", freeze=["embed.mixers", "blocks", "plan", "embed"]))
    assert caught.value.where == "score.adaptation.freeze"


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_learns_after_scoring_a_window_longer_than_training(kind: str, dtype: torch.dtype) -> None:
    ours = backend(dtype=dtype)
    ids = random_ids(MODEL, 2, 5 * MODEL.context)
    ours.nll(ids, ids)
    with ours.adapter(adaptation(kind)) as adapter:
        before = adapter.nll(ids, ids)
        adapter.adapt(graded(ids[0], 12)[0])
        assert not np.allclose(before, adapter.nll(ids, ids))


def test_training_that_leaves_the_finite_numbers_says_so_and_leaves_no_trace() -> None:
    ours = backend()
    before = bits(ours.gpt)
    chunks = graded(random_ids(MODEL, 1, 41)[0], 20, 20)
    endless = adaptation("sgd", lr=1e300, clip=0.0, epochs=1)
    with ours.adapter(endless) as adapter, pytest.raises(TrainingDivergedError, match="finite"):
        any(adapter.adapt(chunk) for chunk in chunks)
    assert bits(ours.gpt) == before
