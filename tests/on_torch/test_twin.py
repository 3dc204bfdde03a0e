"""Torch answers to numpy: for every registered variant the same logits, the same tensors, live gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Model
from bytegolf.model.spec import manifest
from bytegolf.on_numpy import forward
from bytegolf.on_torch.gpt import Gpt
from model_samples import (
    IDS,
    MEAN_NATS,
    OTHER_NATS,
    REGISTERED,
    TARGETS,
    generic_weights,
    miniature,
    models,
    random_ids,
)

EVERY_VARIANT = pytest.mark.parametrize(("slot", "kind"), REGISTERED)


def in_float64(model: Model, weights: dict[str, np.ndarray]) -> Gpt:
    gpt = Gpt(model).double()
    gpt.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return gpt


@pytest.mark.parametrize("mixers", MEAN_NATS)
def test_the_miniature_systems_have_their_loss(mixers: tuple[str, ...]) -> None:
    gpt = in_float64(*miniature(mixers))
    losses = gpt.nll(torch.tensor(IDS)[None], torch.tensor(TARGETS)[None])
    assert losses.mean().item() == pytest.approx(MEAN_NATS[mixers], abs=1e-14)


@pytest.mark.parametrize("name", OTHER_NATS)
def test_miniatures_with_other_layers_have_their_loss(name: str) -> None:
    mixers, slots, expected = OTHER_NATS[name]
    gpt = in_float64(*miniature(mixers, slots))
    losses = gpt.nll(torch.tensor(IDS)[None], torch.tensor(TARGETS)[None])
    assert losses.mean().item() == pytest.approx(expected, abs=1e-14)


@EVERY_VARIANT
@settings(max_examples=12)
@given(data=st.data())
def test_both_twins_agree_row_by_row(slot: str, kind: str, data: st.DataObject) -> None:
    """Lengths beyond the training context too; and a row does not see its neighbours in the batch."""
    model = data.draw(models(slot, kind))
    weights = generic_weights(model, data.draw(st.integers(0, 10)))
    ids = random_ids(model, 3, data.draw(st.integers(1, 9)), seed=data.draw(st.integers(0, 10)))
    gpt = in_float64(model, weights)
    logits = gpt(torch.tensor(ids)).detach().numpy()
    targets = (ids + 1) % model.vocab_size
    nll = gpt.nll(torch.tensor(ids), torch.tensor(targets)).detach().numpy()
    for b in range(3):
        assert np.allclose(logits[b], forward.logits(model, weights, ids[b]), rtol=0, atol=1e-10)
        assert np.allclose(nll[b], forward.nll(model, weights, ids[b], targets[b]), rtol=0, atol=1e-10)


@EVERY_VARIANT
@settings(max_examples=6)
@given(data=st.data())
def test_float32_stays_near_and_bfloat16_not_far(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    weights = {t.name: 0.2 * generic_weights(model)[t.name] for t in manifest(model).tensors}
    ids = random_ids(model, 1, 6)
    exact = forward.logits(model, weights, ids[0])
    gpt = in_float64(model, weights).float()
    assert np.allclose(gpt(torch.tensor(ids))[0].detach().numpy(), exact, rtol=0, atol=2e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low = gpt(torch.tensor(ids), torch.bfloat16)
    assert low.dtype == torch.float32
    assert np.allclose(low[0].detach().numpy(), exact, rtol=0, atol=0.15)


@EVERY_VARIANT
@settings(max_examples=6)
@given(data=st.data())
def test_no_logit_depends_on_a_later_token(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    gpt = in_float64(model, generic_weights(model))
    ids, cut = torch.tensor(random_ids(model, 2, 8)), data.draw(st.integers(1, 7))
    changed = torch.cat((ids[:1, :cut], ids[1:, cut:]), dim=1)
    assert torch.allclose(gpt(ids[:1])[:, :cut], gpt(changed)[:, :cut], rtol=0, atol=1e-12)


@EVERY_VARIANT
@settings(max_examples=6)
@given(data=st.data())
def test_the_state_dict_is_the_manifest(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    gpt = Gpt(model)
    wanted = {t.name: t.shape for t in manifest(model).tensors}
    assert {name: tuple(tensor.shape) for name, tensor in gpt.state_dict().items()} == wanted
    assert {name: tuple(p.shape) for name, p in gpt.named_parameters()} == wanted
    assert all(p.dtype == torch.float32 and p.requires_grad for p in gpt.parameters())


def attention_of_one(model: Model) -> set[str]:
    """What only chooses among tokens, where there is one to choose."""
    chooses = {"gqa": ("q", "k", "q_gain"), "mla": ("q", "k_up", "q_gain")}[model.attention.kind]
    return {f"blocks.{layer}.attention.{name}" for layer in range(model.layers) for name in chooses}


@EVERY_VARIANT
@settings(max_examples=5)
@given(data=st.data())
def test_every_parameter_gets_a_gradient_within_three_steps(
    slot: str, kind: str, data: st.DataObject
) -> None:
    model = data.draw(models(slot, kind))
    gpt = Gpt.initialised(model, 0).double()
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=0.02, weight_decay=0.0)
    ids = torch.tensor(random_ids(model, 16, 13))
    ids[0] = (model.bos_id + 1) % model.vocab_size  # a row that repeats itself without end
    alive: set[str] = set()
    for _ in range(3):
        optimizer.zero_grad()
        gpt.nll(ids[:, :-1], ids[:, 1:]).mean().backward()
        alive |= {n for n, p in gpt.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    tensors = manifest(
        model
    )  # the gradient of what is dead may be off zero by rounding, which differs by machine
    assert alive | tensors.dead == set(tensors.roles())
    assert tensors.dead == (attention_of_one(model) if model.attention.window == 1 else set())


def test_the_initial_network_holds_the_initial_weights() -> None:
    model, _ = miniature(("bigram_hash", "smear_lerp"))
    first, again, other = (Gpt.initialised(model, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


def test_a_skip_reads_the_output_of_its_source_and_not_its_input() -> None:
    """Two layers: the second adds skips[0] * its own input, the output of layer 0, so the stream doubles."""
    model, _ = miniature(())
    model = model.model_copy(update={"layers": 2})
    gpt = Gpt.initialised(model, 0).double()
    ids = torch.tensor(IDS)[None]
    with_skip = gpt(ids)
    gpt.plan.skips.data.zero_()
    without = gpt(ids)
    assert torch.allclose(with_skip, without, atol=1e-4)  # the closing norm hides a factor of two
    for name, array in generic_weights(model).items():
        gpt.state_dict()[name].copy_(torch.tensor(array))
    with_skip = gpt(ids)
    gpt.plan.skips.data.zero_()
    assert not torch.allclose(with_skip, gpt(ids), atol=1e-2)
