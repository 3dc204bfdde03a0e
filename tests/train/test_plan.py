"""Laws of planning: every tensor is planned, trained runs take what was predicted, proposals do what they say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bytegolf.artifact.ledger import ledger
from bytegolf.artifact.predict import PEAK_SCALED
from bytegolf.config.load import load_config, preset_names, with_overrides
from bytegolf.config.schema import Config
from bytegolf.model.spec import flops_per_token, manifest
from bytegolf.model.storage import codecs_of, pruned_tensors
from bytegolf.train.export import export
from bytegolf.train.fill import filled_tensors
from bytegolf.train.fit import fit
from bytegolf.train.plan import (
    extent,
    family,
    fit_bits,
    make_plan,
    planned_tensors,
    predicted,
    predicted_ledger,
)
from bytegolf.train.probe import Probe, probe
from bytegolf.train.proposals import MUCH_LEFT, propose
from tiny import tiny_config, tiny_dataset

FAST = Probe("cpu", "fp32", "nothing", seconds_per_step=0.5, tokens_per_second=96.0, probe_seconds=0.0)


@pytest.mark.parametrize("name", preset_names())
def test_every_tensor_of_every_preset_is_planned_as_it_will_be_stored(name: str) -> None:
    config = load_config(name)
    tensors = manifest(config.model)
    planned = planned_tensors(config)
    assert {t.name: t.codec for t in planned} == codecs_of(tensors, config)
    assert [(t.name, t.role, t.shape) for t in planned] == [
        (t.name, t.role, t.shape) for t in tensors.tensors
    ]
    assert {t.name for t in planned if t.pruned} == pruned_tensors(tensors, config.pack)
    assert {t.family for t in planned} <= PEAK_SCALED.keys()
    zero = {t.name for t in planned if t.std == 0}
    frozen = {t.name for t in tensors.tensors if config.train.optimizers[t.role].lr == 0}
    assert zero == {
        t.name for t in tensors.tensors if t.name in tensors.dead | frozen and t.init.kind == "zeros"
    }


def test_a_family_says_how_a_matrix_starts_and_what_writes_through_it() -> None:
    config = load_config("pocket")
    found = {t.name: family(t) for t in manifest(config.model).tensors}
    assert found["blocks.0.mlp.fc"] == found["blocks.1.attention.q"] == "matrix from uniform"
    assert (found["blocks.0.mlp.proj"], found["blocks.0.attention.proj"]) == (
        "MLP output",
        "matrix from zeros",
    )
    assert (found["embed.mixers.0.proj"], found["plan.skips"]) == ("matrix from orthogonal", "vector")
    assert (found["embed.weight"], found["embed.mixers.0.table"]) == ("embed", "table")


def test_a_trained_run_takes_the_bytes_that_were_predicted_before(tmp_path: Path) -> None:
    config = tiny_config(
        "model.dim=48", "model.mlp.hidden=192", "train.steps=60", "model.embed.mixers=[{kind='smear_lerp'}]"
    )
    before = predicted(config, 60)
    spent = ledger(export(fit(config, tiny_dataset(tmp_path / "data"), tmp_path / "run"), config))
    # Wider than what was measured on real text: these texts use 17 of 257 tokens, so most rows of the embedding
    # and of the MLP's output are hardly trained.
    assert before.total == pytest.approx(spent.total, rel=0.06)
    assert before.gaussian.total == pytest.approx(spent.total, rel=0.06)
    assert (before.expected.tokenizer, before.expected.fixed) == (spent.tokenizer, spent.fixed)
    assert before.expected.header == pytest.approx(spent.header, abs=40)


def test_pruning_and_frozen_tensors_are_accounted_for() -> None:
    config = load_config("pocket")
    thin = with_overrides(config, ["pack.prune={share=0.5, above=0}"])
    assert predicted_ledger(thin).total < 0.95 * predicted_ledger(config).total
    frozen = with_overrides(config, ["train.optimizers.table.lr=0"])
    table = next(row for row in predicted_ledger(frozen).roles if row.name == "table")
    assert table.bytes < 100


@pytest.mark.parametrize(
    ("budget", "steps", "tokens", "seconds"),
    [("train.steps=7", 7, 336, 3.5), ("train.tokens=100", 3, 144, 1.5), ("train.seconds=10", 20, 960, 10.0)],
)
def test_the_extent_follows_from_the_budget_and_the_speed(
    budget: str, steps: int, tokens: int, seconds: float
) -> None:
    config = tiny_config(budget)
    reach = extent(config, FAST)
    assert (reach.steps, reach.tokens, reach.seconds) == (steps, tokens, seconds)
    plan = make_plan(config, FAST)
    assert plan.training_flops == 3 * flops_per_token(config.model) * tokens
    unknown = extent(config, None)
    timed = budget.startswith("train.seconds")
    assert (unknown.steps, unknown.seconds) == ((None, 10.0) if timed else (steps, None))


def test_the_bits_of_fit_fill_the_budget() -> None:
    config = load_config("pocket")
    spent, filled = predicted_ledger(config), filled_tensors(manifest(config.model))
    bits = fit_bits(spent, filled, 800_000)
    assert bits is not None
    tuned = [row for row in spent.tensors if row.name in filled]
    assert len(tuned) == len(filled)
    rest = spent.total - sum(row.bytes for row in tuned)
    assert rest + bits * sum(row.elements for row in tuned) / 8 == pytest.approx(800_000)
    assert fit_bits(spent, filled, 0) is None
    assert make_plan(with_overrides(config, ["pack.budget=800_000"])).fit_bits == pytest.approx(
        bits, rel=1e-4
    )


def small_config() -> Config:
    mixers = "[{kind='bigram_hash', buckets=2048, table_dim=16}, {kind='smear_lerp'}]"
    return tiny_config(
        "model.dim=64", "model.mlp.hidden=256", "model.layers=3", f"model.embed.mixers={mixers}"
    )


@pytest.mark.parametrize("share", [0.85, 0.9999, 1.0, 1.01, 2.0])
def test_proposals_resolve_to_what_they_promise(share: float) -> None:
    config = small_config()
    total = predicted_ledger(config).total
    budget = math.floor(total * share)
    found = propose(config, budget)
    assert bool(found) == (share < 1 or share * (1 - MUCH_LEFT) > 1)
    for proposal in found:
        changed = with_overrides(config, proposal.overrides)
        assert predicted_ledger(changed).total == proposal.total
        assert proposal.fits == (proposal.total <= budget)
        assert (proposal.total < total) == (share < 1)
    sizes = {proposal.what for proposal in found if proposal.what != "codec"}
    if share in (0.85, 2.0):
        assert sizes == {"mlp.hidden", "layers", "buckets", "dim"}


def test_a_size_proposed_is_the_largest_that_fits() -> None:
    config = small_config()
    budget = predicted_ledger(config).total * 3 // 2
    steps = {"mlp.hidden": ("model.mlp.hidden", 8), "layers": ("model.layers", 1), "dim": ("model.dim", 8)}
    for proposal in propose(config, budget):
        if proposal.what in steps:
            key, grid = steps[proposal.what]
            value = int(proposal.overrides[0].split("=")[1])
            larger = with_overrides(config, [f"{key}={value + grid}"])
            assert predicted_ledger(larger).total > budget


def test_when_no_codec_fits_the_smallest_of_all_is_named_and_marked() -> None:
    codecs = [p for p in propose(small_config(), 4000) if p.what == "codec"]
    assert [p.fits for p in codecs] == [False]
    assert len(codecs[0].overrides) >= 3


@pytest.mark.parametrize("rows", [1, 3])
def test_a_probe_says_what_it_measured_and_leaves_the_config_alone(rows: int) -> None:
    config = tiny_config(f"train.rows={rows}", "train.compile=true")
    lines: list[str] = []
    found = probe(config, "cpu", limit=0.3, announce=lines.append)
    assert found.tokens_per_second == pytest.approx(rows * 16 / found.seconds_per_step)
    assert f" of {rows} rows" in found.measured
    assert np.isfinite(found.seconds_per_step)
    assert len(lines) == 1


def test_a_probe_without_time_still_measures_a_step() -> None:
    found = probe(tiny_config(), "cpu", limit=0.0)
    assert "a step of 1 of 3 rows and a forward pass" in found.measured
    assert 0 < found.seconds_per_step < math.inf
