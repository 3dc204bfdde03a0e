"""Laws of the ledger: every byte counted once, no budget exceeded, and suggestions that keep their word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import CODECS, ROLES, small_weights

from bytegolf import registry
from bytegolf.artifact.format import Artifact, StoredTokenizer, to_bytes
from bytegolf.artifact.ledger import ledger, suggest, within
from bytegolf.artifact.pack import pack
from bytegolf.codec import base
from bytegolf.errors import BudgetError

PROPOSED = [name for name in registry.names("codec") if not base.get(name).flawed]
TABLES = st.fixed_dictionaries({role: st.sampled_from(registry.names("codec")) for role in CODECS})


def packed(codecs: dict[str, str], weights: dict[str, np.ndarray]) -> Artifact:
    return pack(weights, ROLES, codecs, {"codec": codecs}, StoredTokenizer("bytes", 256, b"-" * 40), {"n": 1})


def larger_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=(40, 16)).astype(np.float32) for name in ROLES}


@given(TABLES, st.integers(0, 50))
def test_the_total_is_the_size_of_the_file(codecs: dict[str, str], seed: int) -> None:
    artifact = packed(codecs, small_weights(seed))
    spent = ledger(artifact)
    assert spent.total == len(to_bytes(artifact))
    assert sum(row.bytes for row in spent.tensors) == sum(row.bytes for row in spent.roles)
    assert spent.tokenizer == 40


def test_rows_count_tensors_elements_and_bits(artifact: Artifact) -> None:
    spent = ledger(artifact)
    assert [(r.name, r.codec, r.tensors, r.elements) for r in spent.roles] == [
        ("embed", "int8", 1, 96),
        ("matrix", "int6", 1, 64),
        ("scalar", "fp16", 2, 5),
    ]
    for row, tensor in zip(spent.tensors, artifact.tensors, strict=True):
        assert (row.name, row.bytes, row.elements) == (tensor.name, len(tensor.blob), math.prod(tensor.shape))
        assert row.bits_per_weight == 8 * row.bytes / row.elements


def test_json_holds_the_tensors_on_request(artifact: Artifact) -> None:
    spent = ledger(artifact)
    brief, full = spent.to_json(), spent.to_json(per_tensor=True)
    assert brief["total"] == spent.total
    assert [row["name"] for row in full.pop("tensors")] == list(ROLES)
    assert brief == full


def test_a_budget_is_kept_or_refused_by_the_byte(artifact: Artifact) -> None:
    total = len(to_bytes(artifact))
    within(artifact, total)
    within(ledger(artifact), total)
    with pytest.raises(BudgetError, match=r"\b1 too many"):
        within(artifact, total - 1)


def test_a_refusal_lists_what_fits_and_nothing_else(artifact: Artifact) -> None:
    with pytest.raises(BudgetError) as error:
        within(artifact, 100, [("-o pack.codecs.matrix=int5", 90), ("-o pack.codecs.embed=int6", 110)])
    assert "-o pack.codecs.matrix=int5 gives 90 bytes" in str(error.value)
    assert "110" not in str(error.value)
    with pytest.raises(BudgetError, match=r"smallest reachable is 105 bytes \(-o pack.codecs.embed=int5\)"):
        within(artifact, 100, [("-o pack.codecs.embed=int5", 105), ("-o pack.codecs.embed=int6", 110)])
    with pytest.raises(BudgetError, match="raise the budget"):
        within(artifact, 100)


def changed(codecs: dict[str, str], description: str) -> dict[str, str]:
    assignments = [change.split("=") for change in description.removeprefix("-o ").split(" -o ")]
    return codecs | {key.removeprefix("pack.codecs."): codec for key, codec in assignments}


@settings(max_examples=15)
@given(TABLES, st.floats(0.3, 1.0))
def test_suggestions_have_exactly_the_size_they_say(codecs: dict[str, str], share: float) -> None:
    weights = larger_weights()
    total = len(to_bytes(packed(codecs, weights)))
    budget = int(share * total)
    found = suggest(weights, ROLES, codecs, total, budget)
    assert len(found) <= 4
    sizes = [size for _, size in found]
    assert sizes == sorted(sizes, reverse=True)
    for description, size in found:
        assert len(to_bytes(packed(changed(codecs, description), weights))) == size
    if len(found) > 1:
        assert sizes[0] <= budget


def test_when_nothing_fits_the_smallest_size_of_all_is_given() -> None:
    weights = larger_weights()
    total = len(to_bytes(packed(CODECS, weights)))
    ((description, size),) = suggest(weights, ROLES, CODECS, total, 10)
    assert description == "-o pack.codecs.embed=int5 -o pack.codecs.matrix=int5 -o pack.codecs.scalar=int5"
    smallest = min(
        len(to_bytes(packed({"embed": a, "matrix": b, "scalar": c}, weights)))
        for a in PROPOSED
        for b in PROPOSED
        for c in PROPOSED
    )
    assert size == smallest


def test_pairs_are_tried_where_no_single_change_suffices() -> None:
    weights = larger_weights()
    total = len(to_bytes(packed(CODECS, weights)))
    singles = suggest(weights, ROLES, CODECS, total, total - 1)
    assert all(description.count("-o ") == 1 for description, _ in singles)
    best_single = min(
        len(to_bytes(packed(CODECS | {role: codec}, weights))) for role in CODECS for codec in PROPOSED
    )
    pairs = suggest(weights, ROLES, CODECS, total, best_single - 1)
    assert pairs
    for description, size in pairs:
        assert description.count("-o ") == 2
        assert size == len(to_bytes(packed(changed(CODECS, description), weights))) < best_single


def test_a_role_changes_its_codec_only_once() -> None:
    weights = {"a": np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)}
    ((description, size),) = suggest(weights, {"a": "matrix"}, {"matrix": "fp16"}, 10_000, 2000)
    assert description == "-o pack.codecs.matrix=int5"
    assert size > 2000


def test_a_codec_that_cannot_hold_a_weight_is_not_suggested(made_of: dict[str, Any]) -> None:
    weights = larger_weights() | {"embed": np.full((40, 16), 1e6, dtype=np.float32)}
    total = len(to_bytes(packed(CODECS, weights)))
    found = suggest(weights, ROLES, CODECS, total, 2 * total)
    assert all("embed=fp16" not in description for description, _ in found)
