"""The exact arithmetic gives the same integers however a row is read: in pieces, in lanes, after other lanes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError
from bytegolf.on_numpy.exact.attention import heads
from bytegolf.on_numpy.exact.engine import Exact
from bytegolf.on_torch.exact_ops import TorchOps
from exact_samples import outputs, packed, trained_like, unpacked
from model_samples import REGISTERED, generic_weights, miniature, models, random_ids

EVERY_VARIANT = pytest.mark.parametrize(("slot", "kind"), REGISTERED)
CODECS = ("fp16", "int8", "int6", "int5", "ecsq")

Outputs = tuple[np.ndarray, np.ndarray]


def engine_of(model: Model, data: st.DataObject) -> Exact:
    weights = (generic_weights if data.draw(st.booleans()) else trained_like)(
        model, data.draw(st.integers(0, 5))
    )
    return Exact(model, unpacked(model, weights, data.draw(st.sampled_from(CODECS))))


def same(first: Outputs, second: Outputs) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def cut_at(*columns: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(columns), unique=True).map(sorted)


@EVERY_VARIANT
@settings(max_examples=5)
@given(data=st.data())
def test_a_row_is_the_same_in_any_pieces(slot: str, kind: str, data: st.DataObject) -> None:
    """At once, token by token, and cut anywhere; longer than every window; with BOS inside."""
    model = data.draw(models(slot, kind))
    engine, length = engine_of(model, data), data.draw(st.integers(1, 24))
    ids = random_ids(model, 2, length, data.draw(st.integers(0, 9)))
    whole = outputs(engine, ids)
    assert same(outputs(engine, ids, range(1, length)), whole)
    assert same(outputs(engine, ids, data.draw(cut_at(*range(length)))), whole)
    prefix = data.draw(st.integers(1, length))
    assert same(outputs(engine, ids[:, :prefix]), (whole[0][:, :prefix], whole[1][:, :prefix]))


@EVERY_VARIANT
@settings(max_examples=3)
@given(data=st.data())
def test_a_lane_does_not_know_of_the_others(slot: str, kind: str, data: st.DataObject) -> None:
    """Alone, and as the i-th of sixteen."""
    model = data.draw(models(slot, kind))
    engine, length, at = engine_of(model, data), data.draw(st.integers(1, 12)), data.draw(st.integers(0, 15))
    ids = random_ids(model, 16, length, data.draw(st.integers(0, 9)))
    cuts = data.draw(cut_at(*range(length)))
    many, alone = outputs(engine, ids, cuts), outputs(engine, ids[at : at + 1], cuts)
    assert same((many[0][at : at + 1], many[1][at : at + 1]), alone)


@EVERY_VARIANT
@settings(max_examples=4)
@given(data=st.data())
def test_lanes_go_on_where_they_stood_when_others_end(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    engine, ids = engine_of(model, data), random_ids(model, 5, 20, data.draw(st.integers(0, 9)))
    whole, state, alive = outputs(engine, ids), engine.start(5), list(range(5))
    for begin, end in [(0, 6), (6, 7), (7, 12), (12, 13), (13, 20)]:
        logits = engine.logits(engine.read(state, ids[alive, begin:end]))
        assert np.array_equal(logits, whole[0][alive, begin:end])
        assert (state.lanes, state.position) == (len(alive), end)
        keep = data.draw(st.permutations(range(len(alive))))[: data.draw(st.integers(1, len(alive)))]
        state.keep(keep)
        alive = [alive[k] for k in keep]


@pytest.mark.parametrize("stop_at_bos", [False, True])
@pytest.mark.parametrize("kind", registry.names("mixer"))
def test_only_a_mixer_that_stops_at_bos_forgets_there(kind: str, stop_at_bos: bool) -> None:
    """The embedding after BOS: of the text before it nothing is left, or something is; in any pieces."""
    sizes = {
        "bigram_hash": {"buckets": 19, "table_dim": 3},
        "bigram_hash_prime": {"buckets": 19, "table_dim": 3},
    }
    model, _ = miniature(())
    mixer = {"kind": kind, "stop_at_bos": stop_at_bos, **sizes.get(kind, {})}
    blind = {"kind": "gqa", "heads": 2, "kv_heads": 1, "window": 1}
    model = Model.model_validate(
        model.model_dump() | {"embed": {"mixers": [mixer]}, "attention": blind, "bos_id": 3}
    )
    engine = Exact(model, packed(model, generic_weights(model), "int8").tensors)
    after, rng, told = [3, 5, 6, 5, 7, 5, 6], np.random.default_rng(1), []
    for _ in range(4):
        ids = np.array([[*rng.choice([1, 5, 6, 7, 9], 12), *after]])
        told.append(outputs(engine, ids)[0][:, 12:])
        for cut in (12, 13, 14):
            assert np.array_equal(outputs(engine, ids, [cut])[0][:, 12:], told[-1])
    assert all(np.array_equal(one, told[0]) for one in told) == stop_at_bos


@pytest.mark.parametrize("kind", registry.names("attention"))
@pytest.mark.parametrize("window", [0, 1, 7, 300])
def test_a_row_outgrows_the_cache(kind: str, window: int) -> None:
    """The cache begins with room for 256 tokens and is made anew twice and more here."""
    model, _ = miniature(())
    spec = {"kind": kind, "heads": 2, "kv_heads": 1, "window": window}
    spec |= {"kv_rank": 3} if kind == "mla" else {}
    model = Model.model_validate(model.model_dump() | {"attention": spec, "layers": 2})
    engine = Exact(model, unpacked(model, generic_weights(model), "int8"))
    ids = random_ids(model, 1, 600)
    whole = outputs(engine, ids)
    for cuts in ([1, 255, 256, 257, 512], range(37, 600, 37), range(250, 262), [599]):
        assert same(outputs(engine, ids, cuts), whole)
    if window:  # two layers of w - 1 tokens each: nothing further back has a say
        reach = 2 * (window - 1)
        changed = np.concatenate(((ids[:, : 599 - reach] + 1) % 16, ids[:, 599 - reach :]), axis=1)
        assert np.array_equal(outputs(engine, changed, [550])[0][:, -1], whole[0][:, -1])


def test_the_window_reaches_w_minus_1_tokens_back_and_no_further() -> None:
    for window in range(1, 8):
        model, _ = miniature(())
        attention = {"kind": "gqa", "heads": 2, "kv_heads": 1, "window": window}
        model = Model.model_validate(model.model_dump() | {"attention": attention, "layers": 1})
        engine = Exact(model, unpacked(model, generic_weights(model), "int8"))
        ids = random_ids(model, 1, 12)
        whole = outputs(engine, ids)[0]
        for changed in range(12):
            other = ids.copy()
            other[0, changed] = (ids[0, changed] + 1) % model.vocab_size
            differs = (outputs(engine, other, [3, 9])[0] != whole).any(axis=(0, 2))
            assert np.flatnonzero(differs).tolist() == list(range(changed, min(changed + window, 12)))


def test_two_engines_and_two_runs_give_the_same() -> None:
    model, weights = miniature(("bigram_hash", "smear_lerp"))
    tensors, ids = packed(model, weights, "int6").tensors, random_ids(model, 3, 40)
    first, second = Exact(model, tensors), Exact(model, tensors)
    once = outputs(first, ids)
    assert same(outputs(first, ids), once)
    assert same(outputs(second, ids, [7]), once)
    assert first.identity() == second.identity()


@EVERY_VARIANT
@settings(max_examples=2)
@given(data=st.data())
def test_torch_gives_the_integers_of_numpy(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    tensors = unpacked(model, generic_weights(model), data.draw(st.sampled_from(CODECS)))
    ids = random_ids(model, 3, 17, data.draw(st.integers(0, 9)))
    ours, theirs = Exact(model, tensors), Exact(model, tensors, TorchOps())
    assert same(outputs(theirs, ids, [1, 2, 9]), outputs(ours, ids))
    assert ours.identity() == theirs.identity()
    state = theirs.start(3)
    theirs.read(state, ids[:, :5])
    state.keep([2, 0])
    assert np.array_equal(
        theirs.numpy(theirs.logits(theirs.read(state, ids[[2, 0], 5:]))), outputs(ours, ids)[0][[2, 0], 5:]
    )


@pytest.mark.parametrize("slot", ["mixer", "attention", "mlp", "head"])
def test_a_component_without_an_exact_form_is_named(slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = miniature(("smear_lerp",))
    spec = model.embed.mixers[0] if slot == "mixer" else getattr(model, slot)
    monkeypatch.setitem(registry.VARIANTS[slot], spec.kind, "made_up:MadeUp")
    with pytest.raises(ConfigError, match=re.escape(f"{slot} '{spec.kind}' has no exact twin")):
        Exact(model, unpacked(model, weights, "int8"))


def test_attention_without_a_window_has_a_longest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen thousand tokens take their time: here it is 384."""
    assert heads.MOST_KEYS == 16_384
    monkeypatch.setattr(heads, "MOST_KEYS", 384)
    model, weights = miniature(())
    engine = Exact(model, unpacked(model, weights, "int8"))
    state, ids = engine.start(1), np.zeros((1, 128), np.int64)
    for _ in range(3):
        engine.read(state, ids)
    for count in (1, 128):
        with pytest.raises(ConfigError, match="without a window sees at most 384 tokens") as caught:
            engine.read(state, ids[:, :count])
        assert (caught.value.where, caught.value.fix) == ("score.context", "pass --context 384 or less")
