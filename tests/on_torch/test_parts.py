"""The parts by themselves: published numbers, document boundaries, positions beyond the table, dead weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash as BigramSpec
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime as PrimeSpec
from bytegolf.model.components.smear_lerp import SmearLerp as SmearSpec
from bytegolf.model.components.tied import Tied as TiedSpec
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.ops import under
from bytegolf.on_torch.declared import rms_norm
from bytegolf.on_torch.gpt import Gpt
from bytegolf.on_torch.head.tied import Tied
from bytegolf.on_torch.mixers.bigram_hash import BigramHash
from bytegolf.on_torch.mixers.bigram_hash_prime import BigramHashPrime
from bytegolf.on_torch.mixers.smear_lerp import SmearLerp
from bytegolf.on_torch.rope import Rope
from model_samples import generic_weights, miniature, models, random_ids, system
from vectors import (
    BUCKETS,
    HASHED_IDS,
    NORMED_CONSTANT,
    PRIME_BUCKETS,
    ROTATED,
    SMEARED,
    SOFTCAPPED,
)


@pytest.mark.parametrize("size", BUCKETS)
def test_token_pairs_fall_into_their_published_buckets(size: int) -> None:
    ids = torch.tensor(HASHED_IDS)[None]
    model = system().model_copy(update={"bos_id": 0})
    published = BigramHash(BigramSpec(kind="bigram_hash", buckets=size, stop_at_bos=False), model)
    assert published.bucket(ids)[0].tolist() == BUCKETS[size]
    stopped = BigramHash(BigramSpec(kind="bigram_hash", buckets=size), model)
    assert stopped.bucket(ids)[0].tolist() == [*BUCKETS[size][:-1], size - 1]


def test_the_largest_ids_hash_without_wrapping_around() -> None:
    model = system().model_copy(update={"vocab_size": 59_139})
    mixer = BigramHash(BigramSpec(kind="bigram_hash", buckets=4096, stop_at_bos=False), model)
    assert (
        mixer.bucket(torch.tensor([[50_000, 59_138]]))[0, 1] == ((36313 * 59_138) ^ (27191 * 50_000)) % 4095
    )


@pytest.mark.parametrize("gate", SMEARED)
def test_the_smear_of_one_channel(gate: float) -> None:
    model = system(smear=False).model_copy(update={"dim": 1})
    mixer = SmearLerp(SmearSpec(kind="smear_lerp", stop_at_bos=False), model).double()
    mixer.gate.data.fill_(gate)
    x_BTD = torch.tensor([[[1.0], [3.0], [5.0]]], dtype=torch.float64)
    out = mixer(x_BTD, torch.tensor([[5, 1, 7]]), torch.zeros(8, 1))
    assert out[0, :, 0].tolist() == pytest.approx(SMEARED[gate], abs=1e-10)


@pytest.mark.parametrize(("cap", "x"), SOFTCAPPED)
def test_the_softcap(cap: float, x: float) -> None:
    head = Tied(TiedSpec(kind="tied", softcap=cap), system())
    out = head(torch.tensor([[[x]]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    assert out.item() == pytest.approx(SOFTCAPPED[cap, x], abs=1e-9)


def test_rope_rotates_by_minus_theta() -> None:
    x_BHTd = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).expand(1, 1, 3, 4)
    assert np.allclose(Rope(4, 10_000.0, 3)(x_BHTd)[0, 0], ROTATED, atol=1e-9)


@given(st.integers(1, 4), st.integers(1, 12))
def test_rope_grows_beyond_its_table_and_keeps_what_it_had(length: int, wanted: int) -> None:
    x_BHTd = torch.randn(1, 2, wanted, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small, large = Rope(6, 100.0, length), Rope(6, 100.0, 50)
    assert torch.equal(small(x_BHTd), large(x_BHTd))
    assert torch.equal(small(x_BHTd[..., :1, :]), x_BHTd[..., :1, :])
    assert small.state_dict() == {}


def test_no_table_moves_in_float64_because_mps_has_none() -> None:
    model, _ = miniature(("smear_lerp",))
    assert not [name for name, buffer in Gpt(model).named_buffers() if buffer.dtype == torch.float64]


def test_scoring_a_longer_window_does_not_spoil_training_after_it() -> None:
    model, _ = miniature(())
    ids = torch.tensor(random_ids(model, 2, 3 * model.context))
    for dtype in (torch.float32, torch.float64):
        gpt = Gpt.initialised(model, 0).to(dtype)
        with torch.inference_mode():
            gpt(ids)
        gpt(ids).sum().backward()


def test_the_norm_of_small_vectors_is_held_down_by_eps() -> None:
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-6), (torch.bfloat16, 4e-3)):
        normed = rms_norm(torch.full((512,), 0.005, dtype=dtype))
        assert normed.dtype == dtype
        assert torch.allclose(normed.double(), torch.tensor(NORMED_CONSTANT).double(), atol=tolerance)


MIXERS = registry.names("mixer")


def run_mixer(model: Model, side: str, x_TD: np.ndarray, ids_T: np.ndarray) -> np.ndarray:
    """The output of the first mixer of `model` alone."""
    spec: Any = model.embed.mixers[0]
    every = generic_weights(model)
    weights, embedding = under(every, "embed.mixers.0"), every["embed.weight"]
    mixer = registry.lookup("mixer", spec.kind, side)
    if side == "numpy":
        return np.asarray(mixer(spec, model, weights, x_TD, ids_T, embedding))
    module = mixer(spec, model).double()
    module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    out = module(torch.tensor(x_TD)[None], torch.tensor(ids_T)[None], torch.tensor(embedding))
    return out[0].detach().numpy()


def with_mixer(model: Model, kind: str, **options: object) -> Model:
    spec = next(m for m in model.embed.mixers if m.kind == kind).model_copy(update=options)
    return model.model_copy(update={"embed": model.embed.model_copy(update={"mixers": (spec,)})})


@pytest.mark.parametrize("side", ["numpy", "torch"])
@pytest.mark.parametrize("kind", MIXERS)
@settings(max_examples=10)
@given(data=st.data())
def test_nothing_before_a_document_reaches_it_through_a_mixer(
    kind: str, side: str, data: st.DataObject
) -> None:
    model = with_mixer(data.draw(models("mixer", kind)), kind, stop_at_bos=True)
    rng = np.random.default_rng(0)
    x, other_x = rng.standard_normal((2, 7, model.dim))
    ids, other_ids = random_ids(model, 2, 7, seed=data.draw(st.integers(0, 99)))
    bos = data.draw(st.integers(1, 6))
    ids[bos] = model.bos_id
    changed_x, changed_ids = (
        np.concatenate((other_x[:bos], x[bos:])),
        np.concatenate((other_ids[:bos], ids[bos:])),
    )
    first, second = run_mixer(model, side, x, ids), run_mixer(model, side, changed_x, changed_ids)
    assert np.array_equal(first[bos:], second[bos:])
    alone = run_mixer(model, side, x[bos:], ids[bos:])
    if not kind.startswith(
        "smear"
    ):  # its first token of a row is blended with zero, as published; a BOS is not
        assert np.allclose(first[bos:], alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("side", ["numpy", "torch"])
@pytest.mark.parametrize("kind", MIXERS)
def test_without_that_rule_a_mixer_reaches_across_documents(kind: str, side: str) -> None:
    options = {"buckets": 30} if kind.startswith("bigram_hash") else {}
    mixer = registry.lookup("mixer", kind)(kind=kind, stop_at_bos=False, **options)
    model, _ = miniature(())
    model = model.model_copy(update={"embed": model.embed.model_copy(update={"mixers": (mixer,)})})
    x = np.random.default_rng(0).standard_normal((10, model.dim))
    document, other = [model.bos_id, 4, 5, 6, 7], [model.bos_id, 7, 6, 5, 4]
    ids, changed_ids = np.array(document + document), np.array(other + document)
    changed_x = np.concatenate((-x[:5], x[5:]))
    first, second = run_mixer(model, side, x, ids), run_mixer(model, side, changed_x, changed_ids)
    assert not np.allclose(first[5:], second[5:])


def test_the_linear_hash_is_that_of_the_other_twin_at_the_largest_ids() -> None:
    model = system().model_copy(update={"vocab_size": 65_536})
    for multiplier, (size, expected) in PRIME_BUCKETS.items():
        spec = PrimeSpec(
            kind="bigram_hash_prime", buckets=size, multiplier=multiplier, stop_at_bos=False, table_dim=1
        )
        mixer = BigramHashPrime(spec, model)
        assert mixer.bucket(torch.tensor(HASHED_IDS)[None])[0].tolist() == expected
        large = torch.tensor([[65_535, 65_535]])
        assert mixer.bucket(large)[0, 1].item() == (65_535 * multiplier + 65_535) % size


def test_what_the_specification_calls_dead_is_dead_and_nothing_else() -> None:
    model, _ = miniature(("bigram_hash", "smear_lerp"))
    mixers = (
        model.embed.mixers[0].model_copy(update={"proj_init": "zeros"}),
        model.embed.mixers[1],
    )
    model = model.model_copy(update={"embed": model.embed.model_copy(update={"mixers": mixers})})
    gpt = Gpt.initialised(model, 0).double()
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=0.02)
    ids = torch.tensor(random_ids(model, 8, 9))
    moved: set[str] = set()
    for _ in range(3):
        optimizer.zero_grad()
        gpt.nll(ids[:, :-1], ids[:, 1:]).mean().backward()
        moved |= {n for n, p in gpt.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    tensors = manifest(model)
    assert tensors.dead == {f"embed.mixers.0.{name}" for name in ("table", "proj", "scale")}
    assert moved == set(tensors.roles()) - tensors.dead
    assert tensors.dead_parameters() == 8 * 4 + 8 * 4 + 1


def test_a_bigram_that_starts_at_zero_twice_is_dead() -> None:
    model, _ = miniature(("bigram_hash",))
    ids = torch.tensor(random_ids(model, 4, 6))
    dead = {"table": True, "proj": True, "scale": True}
    for start, expected in (({"proj": 0.0}, dead), ({}, {"table": False, "proj": True, "scale": True})):
        gpt = Gpt.initialised(model, 0)
        mixer = gpt.embed.mixers[0]
        for name, value in start.items():
            getattr(mixer, name).data.fill_(value)
        gpt.nll(ids[:, :-1], ids[:, 1:]).mean().backward()
        assert {name: not p.grad.any() for name, p in mixer.named_parameters()} == expected
