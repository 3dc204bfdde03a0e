"""The specification: sizes of published systems, plans, costs, and laws that every variant obeys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.schema import ROLES, Model
from bytegolf.errors import ConfigError
from bytegolf.model.spec import (
    Component,
    Manifest,
    Mixer,
    Plan,
    Skip,
    Step,
    Tensor,
    block_tensors,
    flops_per_token,
    manifest,
)
from model_samples import OPTIONS, REGISTERED, SLOTS, models, system

SYSTEMS = {
    "BASE": (system(hidden=1024, smear=False), 17_059_912, 1_837_064),
    "PR 102": (system(), 21_779_016, 2_361_352),
    "PR 102 without smear": (system(smear=False), 21_778_504, 2_361_352),
    "PR 162": (system(buckets=4096), 22_368_841, 2_361_352),
    "PR 489": (system(layers=7, buckets=2048), 17_383_481, 2_361_352),
    "PR 342": (system(layers=12, dim=416, hidden=1248, buckets=4096), 19_716_545, 1_559_176),
    "10L record": (system(layers=10, buckets=10240), 25_517_137, 2_361_352),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_published_systems_have_their_published_number_of_parameters(name: str) -> None:
    model, parameters, per_block = SYSTEMS[name]
    assert manifest(model).parameters == parameters
    assert sum(t.size for t in block_tensors(model, 0)) == per_block


def test_every_registered_variant_has_a_sample_and_fills_the_slot_it_is_registered_for() -> None:
    kinds = {"mixer": Mixer, "plan": Plan}
    for slot in SLOTS:
        assert OPTIONS[slot].keys() == set(registry.names(slot))
        for name in registry.names(slot):
            assert issubclass(registry.lookup(slot, name), kinds.get(slot, Component))


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=15)
@given(data=st.data())
def test_a_manifest_names_every_tensor_once_and_gives_each_a_known_role(
    slot: str, kind: str, data: st.DataObject
) -> None:
    model = data.draw(models(slot, kind))
    tensors = manifest(model)
    assert len({t.name for t in tensors.tensors}) == len(tensors.tensors)
    assert set(tensors.roles().values()) <= set(ROLES)
    assert sum(tensors.parameters_by_role().values()) == tensors.parameters
    assert all(len(t.shape) == 2 for t in tensors.tensors if t.role in ("matrix", "embed", "table", "head"))
    assert tensors.tensors[0].name == "embed.weight"


@settings(max_examples=30)
@given(models())
def test_a_longer_model_keeps_the_tensors_of_its_layers(model: Model) -> None:
    longer = model.model_copy(update={"layers": model.layers + 1})
    per_block = sum(t.size for t in block_tensors(model, 0))
    plan = sum(t.size for t in longer.plan.tensors(longer)) - sum(t.size for t in model.plan.tensors(model))
    assert manifest(longer).parameters - manifest(model).parameters == per_block + plan
    # a component may initialise by depth; names, shapes and roles stay
    old = {t.name: (t.shape, t.role) for t in manifest(model).tensors if not t.name.startswith("plan")}
    new = {t.name: (t.shape, t.role) for t in manifest(longer).tensors}
    assert old.items() <= new.items()


def test_a_name_declared_twice_is_a_bug_that_shows_at_once() -> None:
    twice = Tensor("a", (1,), "scalar", manifest(system()).tensors[0].init)
    with pytest.raises(AssertionError, match="declared more than once"):
        Manifest((twice, twice))


@settings(max_examples=30)
@given(models())
def test_every_plan_runs_every_layer_and_skips_only_from_what_has_run(model: Model) -> None:
    steps = model.plan.steps(model)
    assert {s.layer for s in steps} == set(range(model.layers))
    done: set[int] = set()
    rows = {t.name: t.shape for t in model.plan.tensors(model)}.get("skips", (0, model.dim))
    indices = []
    for step in steps:
        if step.skip is not None:
            assert step.skip.source in done
            indices.append(step.skip.index)
        done.add(step.layer)
    assert sorted(set(indices)) == list(range(rows[0]))
    assert rows[1] == model.dim


PAIRS = {
    7: {3: 2, 4: 1, 5: 0},
    9: {4: 3, 5: 2, 6: 1, 7: 0},
    12: {6: 5, 7: 4, 8: 3, 9: 2, 10: 1, 11: 0},
    13: {6: 5, 7: 4, 8: 3, 9: 2, 10: 1, 11: 0},
    1: {},
    2: {1: 0},
}


@pytest.mark.parametrize("layers", PAIRS)
def test_the_skips_of_the_unet_are_the_published_pairs(layers: int) -> None:
    model = system(layers=layers)
    steps = model.plan.steps(model)
    assert [s.layer for s in steps] == list(range(layers))
    assert {s.layer: s.skip.source for s in steps if s.skip} == PAIRS[layers]
    assert [s.skip.index for s in steps if s.skip] == list(range(layers // 2))


def test_the_plain_plan_runs_the_layers_in_order() -> None:
    model = system(layers=3).model_copy(update={"plan": registry.lookup("plan", "plain")(kind="plain")})
    assert model.plan.steps(model) == [Step(0), Step(1), Step(2)]
    assert Step(0) != Step(0, Skip(0, 0))


@settings(max_examples=30)
@given(models())
def test_flops_are_positive_and_grow_with_every_size(model: Model) -> None:
    base = flops_per_token(model)
    assert base > 0
    for key in ("layers", "dim", "vocab_size"):
        larger = model.model_copy(update={key: 2 * getattr(model, key)})
        assert flops_per_token(larger) > base
    longer = model.model_copy(update={"context": 2 * model.context})
    grows = not 0 < getattr(model.attention, "window", 0) <= model.context
    assert (flops_per_token(longer) > base) == grows


def test_flops_of_the_baseline_are_those_of_its_products() -> None:
    model = SYSTEMS["BASE"][0]
    attention = 2 * (2 * 512 * 512 + 2 * 256 * 512) + 4 * 512 * 1024
    per_layer = attention + 2 * 2 * 512 * 1024
    assert flops_per_token(model) == 9 * per_layer + 2 * 512 * 1024 + 2 * 512 * 4


@pytest.mark.parametrize("side", ["numpy", "torch"])
@pytest.mark.parametrize(("slot", "kind"), [pair for pair in REGISTERED if pair[0] != "plan"])
def test_every_variant_that_computes_has_both_twins(slot: str, kind: str, side: str) -> None:
    assert callable(registry.lookup(slot, kind, side))


def test_a_lookup_of_an_unknown_name_gives_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown mlp 'relu'(.|\n)*did you mean 'relu2'"):
        registry.lookup("mlp", "relu")
    with pytest.raises(ConfigError, match="no side 'torch'"):
        registry.lookup("plan", "unet", "torch")
