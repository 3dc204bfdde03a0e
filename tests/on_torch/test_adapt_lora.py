"""Low-rank changes: the naive way, one document at a time with W + B A written out; documents never mix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError
from bytegolf.model.adapted import changed_matrices
from bytegolf.model.scored import Scored, Scores, ScoringError
from bytegolf.model.spec import block_tensors, manifest
from bytegolf.on_torch import backend as backend_module
from bytegolf.on_torch.adapt.lora import Changed, LowRank
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.gpt import Gpt
from model_samples import REGISTERED, generic_weights, models, random_ids, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
CONTEXT = 12


def lora(**options: Any) -> LoraAdaptation:
    return LoraAdaptation.model_validate({"kind": "lora", "chunk": 4, "rank": 2, "lr": 0.05, **options})


def backend(model: Model = MODEL, dtype: torch.dtype = torch.float64) -> TorchBackend:
    made = TorchBackend(model, device="cpu")
    made.load({name: 0.5 * array for name, array in generic_weights(model).items()})
    made.gpt.to(dtype)
    return made


def all_parts(model: Model) -> list[str]:
    return ["head", *(t.name for t in block_tensors(model, 0) if t.role == "matrix")]


def chunks(text: np.ndarray, size: int, first: int = 0) -> list[Scored]:
    book = Scores(np.concatenate((np.zeros(first, np.int64), text)))
    edges = [*range(first, book.targets, size), book.targets]
    return [book.write(a, np.zeros(b - a)) for a, b in pairwise(edges)]


class Naive:
    """One document: W + B A for every matrix, torch.optim.Adam, no batch."""

    def __init__(self, gpt: Gpt, model: Model, kind: LoraAdaptation, starts: dict[str, torch.Tensor]) -> None:
        self.gpt, self.kind = gpt, kind
        self.weights = dict(gpt.named_parameters())
        self.tied = model.head.kind == "tied"
        self.factors = {
            name: (
                a.clone().requires_grad_(),
                a.new_zeros(self.weights[name].shape[0], len(a)).requires_grad_(),
            )
            for name, a in starts.items()
        }
        every = [factor for pair in self.factors.values() for factor in pair]
        self.optimizer = torch.optim.Adam(every, lr=kind.lr, betas=kind.betas, eps=kind.eps)

    def logits(self, ids: np.ndarray) -> torch.Tensor:
        changed = {name: self.weights[name] + b @ a for name, (a, b) in self.factors.items()}
        of_head = changed.pop("embed.weight") if self.tied and "embed.weight" in changed else None
        hook = self.gpt.head.register_forward_pre_hook(
            lambda module, inputs: (inputs[0], inputs[1] if of_head is None else of_head)
        )
        try:
            logits: torch.Tensor = torch.func.functional_call(self.gpt, changed, (torch.tensor(ids)[None],))[
                0
            ]
            return logits
        finally:
            hook.remove()

    def nll(self, ids: np.ndarray, targets: np.ndarray) -> torch.Tensor:
        return F.cross_entropy(self.logits(ids), torch.tensor(targets), reduction="none")

    def learn(self, text: np.ndarray, end: int, count: int) -> None:
        """From the `count` targets before `end` of a document whose first token is text[0]."""
        start = max(0, end - CONTEXT)
        for _ in range(self.kind.steps):
            self.optimizer.zero_grad()
            self.nll(text[start:end], text[start + 1 : end + 1])[-count:].mean().backward()
            self.optimizer.step()


def starts_of(adapter: LowRank, model: Model, kind: LoraAdaptation) -> dict[str, torch.Tensor]:
    adapter.begin(1)
    names = changed_matrices(model, kind.parts)
    return {n: f.values[0][0].clone() for n, f in zip(names, adapter._factors, strict=True)}


def windows(text: np.ndarray, size: int) -> Iterator[tuple[int, int, int]]:
    """(start, first target, end) of each chunk."""
    for first in range(0, len(text) - 1, size):
        end = min(first + size, len(text) - 1)
        yield max(0, first + size - CONTEXT), first, end


@pytest.mark.parametrize(("slot", "kind"), [pair for pair in REGISTERED if pair[0] != "plan"])
@settings(max_examples=3)
@given(data=st.data())
def test_documents_together_are_the_naive_way_one_by_one(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    parts = data.draw(st.lists(st.sampled_from(all_parts(model)), min_size=1, unique=True))
    options = lora(parts=parts, steps=data.draw(st.integers(1, 2)))
    lengths = sorted(data.draw(st.lists(st.integers(2, 22), min_size=1, max_size=4)))
    texts = [random_ids(model, 1, n, seed=i)[0] for i, n in enumerate(lengths)]
    ours = backend(model)
    adapter = ours.document_adapter(options, CONTEXT)
    starts = starts_of(adapter, model, options)
    naive = [Naive(ours.gpt, model, options, starts) for _ in texts]
    graded = [chunks(text, 4) for text in texts]
    adapter.begin(len(texts))
    for number in range(max(map(len, graded))):
        alive = [d for d, own in enumerate(graded) if number < len(own)]
        learning = {}
        for d in alive:
            start, first, end = list(windows(texts[d], 4))[number]
            x, y = texts[d][start:end], texts[d][start + 1 : end + 1]
            expected = naive[d].nll(x, y).detach().numpy()
            got = adapter.nll(x[None], y[None], [d])[0]
            assert np.allclose(got, expected, rtol=0, atol=1e-9)
            assert np.allclose(adapter.nll(x[None], y[None], [d], 1)[0], got[-1:], rtol=0, atol=1e-9)
            p = naive[d].logits(x).log_softmax(dim=-1).detach().numpy()
            assert np.allclose(adapter.log_probabilities(x[None], [d])[0], p, rtol=0, atol=1e-9)
            if end - first == 4:
                learning[d] = graded[d][number]
                naive[d].learn(texts[d], end, 4)
        adapter.adapt(learning)
    # All together in one batch, too.
    ids = random_ids(model, len(texts), 5, seed=99)
    got = adapter.nll(ids, ids, range(len(texts)))
    for d, document in enumerate(naive):
        assert np.allclose(got[d], document.nll(ids[d], ids[d]).detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("most", [1, 500, 1 << 24])
def test_rows_find_their_document_in_any_order_and_in_pieces_of_any_size(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, options = backend(), lora(parts=all_parts(MODEL))
    texts = [random_ids(MODEL, 1, 9, seed=i)[0] for i in range(5)]
    ids = random_ids(MODEL, 5, 7, seed=50)
    alone = []
    for text in texts:
        single = ours.document_adapter(options, CONTEXT)
        single.begin(1)
        for chunk in chunks(text, 4):
            single.adapt({0: chunk})
        alone.append(single.nll(ids, ids, [0] * 5))
    monkeypatch.setattr(backend_module, "MOST_LOGITS", most)
    adapter = ours.document_adapter(options, CONTEXT)
    adapter.begin(5)
    for number in range(2):
        adapter.adapt({d: chunks(texts[d], 4)[number] for d in (3, 1, 4, 0, 2)})
    order = [4, 4, 0, 2, 1]
    got = adapter.nll(ids, ids, order)
    for row, d in enumerate(order):
        assert np.allclose(got[row], alone[d][row], rtol=0, atol=1e-11)
    p = adapter.log_probabilities(ids, order, 2)
    assert p.shape == (5, 2, 20)
    picked = np.take_along_axis(p, ids[:, -2:, None], axis=2)[..., 0]
    assert np.allclose(-picked, got[:, -2:], rtol=0, atol=1e-11)
    assert len({row.tobytes() for row in adapter.nll(ids[[0] * 5], ids[[0] * 5], range(5))}) == 5


def test_who_is_not_given_does_not_step_and_begin_forgets() -> None:
    ours = backend()
    adapter = ours.document_adapter(lora(), CONTEXT)
    ids = random_ids(MODEL, 1, 8)
    plain = ours.nll(ids, ids)
    first, second = chunks(random_ids(MODEL, 1, 9)[0], 4)
    adapter.begin(2)
    assert np.array_equal(adapter.nll(ids, ids, [0]), plain)
    adapter.adapt({0: first})
    learnt = adapter.nll(ids, ids, [0])
    assert not np.allclose(learnt, plain)
    assert np.array_equal(adapter.nll(ids, ids, [1]), plain)
    adapter.adapt({1: first})
    assert np.allclose(adapter.nll(ids, ids, [0]), learnt, rtol=0, atol=1e-13)
    assert np.allclose(adapter.nll(ids, ids, [1]), learnt, rtol=0, atol=1e-13)
    adapter.adapt({0: second})
    adapter.begin(2)
    assert np.array_equal(adapter.nll(ids, ids, [0]), plain)
    adapter.adapt({0: first})
    assert np.array_equal(adapter.nll(ids, ids, [0]), learnt)


def test_the_models_own_weights_stay_and_nothing_is_left_on_them() -> None:
    for dtype in (torch.float32, torch.float64):
        ours = backend(dtype=dtype)
        before = {n: p.detach().clone() for n, p in ours.gpt.named_parameters()}
        ids = random_ids(MODEL, 1, 40)
        ours.nll(ids, ids)  # tables made while scoring must not stand in the way of learning
        adapter = ours.document_adapter(lora(parts=all_parts(MODEL)), CONTEXT)
        adapter.begin(1)
        for chunk in chunks(ids[0], 4):
            adapter.adapt({0: chunk})
        for name, p in ours.gpt.named_parameters():
            assert torch.equal(p, before[name])
            assert p.grad is None
            assert p.requires_grad


def test_the_factors_start_where_the_record_starts_them() -> None:
    ours, options = backend(), lora(rank=3, parts=all_parts(MODEL))
    adapter = ours.document_adapter(options, CONTEXT)
    adapter.begin(4)
    shapes = {t.name: t.shape for t in manifest(MODEL).tensors}
    for name, factors in zip(changed_matrices(MODEL, options.parts), adapter._factors, strict=True):
        a, b = factors.values
        out, inputs = shapes[name]
        assert a.shape == (4, 3, inputs)
        assert b.shape == (4, out, 3)
        assert not b.any()
        assert all(torch.equal(a[0], other) for other in a)
        assert a.abs().max() <= inputs**-0.5
        assert a.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.4)


def test_the_parts_are_found_in_every_layer() -> None:
    assert changed_matrices(MODEL, ["attention.q", "head", "head"]) == [
        "blocks.0.attention.q",
        "blocks.1.attention.q",
        "embed.weight",
    ]
    untied = Model.model_validate({**MODEL.model_dump(), "head": {"kind": "untied"}})
    assert changed_matrices(untied, ["head"]) == ["head.weight"]


@pytest.mark.parametrize(
    ("parts", "hint"),
    [
        (["attention.w"], "'attention.q'"),
        (["head", "mlp"], "'mlp.fc'"),
        (["attention.q_gain"], "'attention.q'"),
        (["embed.weight"], "known: "),
        ([], "known: attention.k"),
    ],
)
def test_parts_that_are_no_matrices_are_a_mistake(parts: list[str], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backend().document_adapter(lora(parts=parts), CONTEXT)
    assert caught.value.where == "score.adaptation.parts"
    assert hint in str(caught.value.fix)


def test_a_chunk_must_fit_into_the_context() -> None:
    with pytest.raises(ConfigError) as caught:
        backend().document_adapter(lora(chunk=CONTEXT + 1), CONTEXT)
    assert caught.value.where == "score.adaptation.chunk"


def test_a_chunk_must_be_graded_and_the_next_one_of_its_document() -> None:
    adapter = backend().document_adapter(lora(), CONTEXT)
    text = random_ids(MODEL, 1, 13)[0]
    first, second, third = chunks(text, 4)
    later = chunks(text, 4, first=30)
    adapter.begin(2)
    with pytest.raises(TypeError, match="Scored"):
        adapter.adapt({0: text})
    adapter.adapt({0: first, 1: later[0]})
    with pytest.raises(ScoringError, match="without gaps"):
        adapter.adapt({0: third})
    with pytest.raises(ScoringError, match="without gaps"):
        adapter.adapt({0: first})
    adapter.adapt({0: second, 1: later[1]})


def test_a_change_that_no_product_uses_is_noticed() -> None:
    gpt = backend().gpt
    table = gpt.embed.mixers[0].table  # looked up, never multiplied
    a, b = torch.zeros(1, 1, table.shape[1]).double(), torch.zeros(1, len(table), 1).double()
    with pytest.raises(AssertionError, match="took no part"), Changed([(table, a, b)]):
        gpt(torch.tensor([[1, 2, 3]]))
