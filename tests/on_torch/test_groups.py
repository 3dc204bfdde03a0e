"""Optimizers by role: every parameter in exactly one group, with the rates of the config."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.config.schema import Model, Train
from bytegolf.errors import ConfigError
from bytegolf.model.spec import manifest
from bytegolf.on_torch.gpt import Gpt
from bytegolf.on_torch.optim.groups import Optimizers
from bytegolf.on_torch.optim.muon import Muon
from model_samples import models, system

ADAMW = {"kind": "adamw", "lr": 0.03, "weight_decay": 0.01, "betas": [0.8, 0.9], "eps": 1e-7}
MUON = {"kind": "muon", "lr": 0.02, "weight_decay": 0.04, "momentum": 0.99, "momentum_start": 0.92}
ROLES: dict[str, dict[str, Any]] = {
    "embed": ADAMW,
    "table": {**ADAMW, "lr": 0.5},
    "matrix": {**MUON, "momentum_warmup_steps": 10},
    "head": ADAMW,
    "gate": ADAMW,
    "scalar": {**ADAMW, "lr": 0.1},
}


def optimizers(model: Model, roles: dict[str, dict[str, Any]] = ROLES) -> tuple[Gpt, Optimizers]:
    gpt = Gpt.initialised(model, 0)
    train = Train.model_validate({"steps": 1, "rows": 1, "optimizers": roles})
    return gpt, Optimizers(dict(gpt.named_parameters()), manifest(model).roles(), train, torch.float32)


def small(**sizes: Any) -> Model:
    return system(**{"layers": 2, "dim": 16, "hidden": 8, "buckets": 6, **sizes})


@settings(max_examples=10)
@given(models())
def test_every_parameter_is_in_one_group_with_the_rate_of_its_role(model: Model) -> None:
    gpt, made = optimizers(model)
    found = [
        (parameter, group, optimizer)
        for optimizer in made.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    names = {parameter: name for name, parameter in gpt.named_parameters()}
    assert sorted(names[p] for p, _, _ in found) == sorted(manifest(model).roles())
    for parameter, group, optimizer in found:
        role = manifest(model).roles()[names[parameter]]
        config = ROLES[role]
        assert isinstance(optimizer, Muon if config["kind"] == "muon" else torch.optim.AdamW)
        keys = {"lr", "weight_decay", "betas", "eps"} & config.keys()
        assert {k: list(group[k]) if k == "betas" else group[k] for k in keys} == {k: config[k] for k in keys}


def test_a_role_without_an_optimizer_is_refused_by_name() -> None:
    for role in ("embed", "table", "matrix", "gate", "scalar"):
        with pytest.raises(ConfigError) as caught:
            optimizers(small(), {r: c for r, c in ROLES.items() if r != role})
        assert f"role {role!r}" in str(caught.value)
        assert caught.value.where == f"train.optimizers.{role}"


def test_an_optimizer_for_a_role_that_no_tensor_has_is_fine() -> None:
    optimizers(small(buckets=0), {**ROLES, "head": ADAMW})


@pytest.mark.parametrize("role", ["scalar", "gate"])
def test_muon_on_vectors_is_refused_by_the_name_of_the_role(role: str) -> None:
    with pytest.raises(ConfigError, match="muon orthogonalises matrices") as caught:
        optimizers(small(), {**ROLES, role: MUON})
    assert caught.value.where == f"train.optimizers.{role}.kind"


def test_parameters_that_the_manifest_does_not_know_are_a_bug() -> None:
    gpt = Gpt(small())
    parameters = dict(gpt.named_parameters())
    roles = manifest(small()).roles()
    roles.pop("embed.weight")
    train = Train.model_validate({"steps": 1, "rows": 1, "optimizers": ROLES})
    with pytest.raises(AssertionError):
        Optimizers(parameters, roles, train, torch.float32)


def test_one_tensor_under_two_names_is_a_bug() -> None:
    shared = torch.nn.Parameter(torch.ones(2))
    train = Train.model_validate({"steps": 1, "rows": 1, "optimizers": ROLES})
    with pytest.raises((AssertionError, ValueError)), pytest.warns(UserWarning, match="duplicate"):
        Optimizers({"a": shared, "b": shared}, {"a": "scalar", "b": "scalar"}, train, torch.float32)


@given(st.integers(0, 30), st.floats(0, 1))
def test_a_step_scales_every_rate_and_warms_the_momentum_up(step: int, multiplier: float) -> None:
    made = SHARED
    made.step(multiplier, step)
    for optimizer in made.optimizers:
        for group in optimizer.param_groups:
            assert group["lr"] == group["base_lr"] * multiplier
            if isinstance(optimizer, Muon):
                assert group["momentum"] == pytest.approx(0.92 + 0.07 * min(step / 10, 1.0))


SHARED = optimizers(small())[1]


def test_a_step_moves_the_weights_down_the_gradient_and_clears_it() -> None:
    gpt, made = optimizers(small())
    before = {name: p.detach().clone() for name, p in gpt.named_parameters()}
    for p in gpt.parameters():
        p.grad = torch.ones_like(p)
    made.step(1.0, 0)
    for name, p in gpt.named_parameters():
        assert p.grad is None
        assert (p - before[name]).sum() < 0, name
    scalar = (gpt.plan.skips - before["plan.skips"] * (1 - 0.1 * 0.01)).detach()
    assert torch.allclose(scalar, torch.full_like(scalar, -0.1), atol=1e-5)  # the first step of Adam is lr
