"""Every sum of the exact arithmetic is exact, whatever the weights and the text: checked sum by sum.

A model either loads, and then `CheckedOps` finds whole operands and magnitudes below 2^53 in every product, dot
and total of every read, or it is refused with an ArtifactError that names a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from checked_ops import LIMIT, CheckedOps, Proven, proven
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.artifact.format import StoredTensor
from bytegolf.codec.base import Integers
from bytegolf.config.schema import Model
from bytegolf.errors import ArtifactError, ConfigError
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.exact.engine import TOTAL, Exact
from bytegolf.on_numpy.exact.whole import Linear, Norm, Stored, grid, pow2, square_grid
from exact_samples import Unpacked, outputs, packed, unpacked
from model_samples import OPTIONS, REGISTERED, generic_weights, miniature, models, random_ids

CODECS = ("fp16", "int8", "int6", "int5", "ecsq")
# Sizes that trained models have, and sizes that none has; fp16 cannot hold the last three.
SIZES = (0.0, 2.0**-120, 1e-7, 1e-3, 0.05, 0.5, 0.5, 1.0, 30.0, 1000.0, 65_504.0, 1e6, 2.0**60, 2.0**125)
SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "noise": lambda rng, shape: np.clip(rng.standard_normal(shape), -2, 2) / 2,
    "same": lambda rng, shape: np.ones(shape),
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "spikes": lambda rng, shape: np.where(rng.random(shape) < 0.2, 1.0, 2.0**-11),
}


@st.composite
def hostile_tensor(draw: st.DrawFn, shape: tuple[int, ...], codec: str) -> np.ndarray:
    """Rows of one size or of many, of one sign or of both, with spikes; or zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    sizes = [size for size in SIZES if codec != "fp16" or size <= 65_504]
    weights = SHAPES[draw(st.sampled_from(sorted(SHAPES)))](rng, shape)
    if draw(st.booleans()) or len(shape) < 2:
        return weights * draw(st.sampled_from(sizes))
    return weights * rng.choice(sizes[: draw(st.integers(1, len(sizes)))], (shape[0], 1))


@st.composite
def hostile_weights(draw: st.DrawFn, model: Model, codecs: dict[str, str]) -> dict[str, np.ndarray]:
    """Sane weights but for a few tensors."""
    weights, tensors = generic_weights(model), manifest(model).tensors
    for i in draw(st.sets(st.integers(0, len(tensors) - 1), min_size=1, max_size=4)):
        weights[tensors[i].name] = draw(hostile_tensor(tensors[i].shape, codecs[tensors[i].role]))
    return weights


def proven_or_refused(model: Model, tensors: list[StoredTensor], seed: int = 0) -> np.ndarray | None:
    """The logits, every sum on the way to them checked; None for a model that is refused."""
    try:
        engine = Exact(model, tensors, CheckedOps())
    except ArtifactError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert refusal.startswith("tensor ")
        assert any(t.name.rpartition(".")[0] in refusal for t in tensors), refusal
        return None
    ids, before = random_ids(model, 2, 14, seed), Proven.sums
    logits, extras = outputs(engine, ids, [1, 2, 9])
    assert Proven.sums > before
    assert np.abs(logits).max() <= math.ceil(1024 * model.head.softcap)
    check_extras(extras, model.vocab_size)
    return logits


def check_extras(extras: np.ndarray, vocab_size: int) -> None:
    assert np.isfinite(extras).all()
    assert (extras == np.rint(extras)).all()
    assert extras.min() >= 0
    assert (extras.sum(axis=-1) == TOTAL - vocab_size).all()


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=8)
@given(data=st.data())
def test_every_sum_is_proven_or_the_model_is_refused(slot: str, kind: str, data: st.DataObject) -> None:
    model = data.draw(models(slot, kind))
    roles = sorted(set(manifest(model).roles().values()))
    codecs = {role: data.draw(st.sampled_from(CODECS)) for role in roles}
    tensors = unpacked(model, data.draw(hostile_weights(model, codecs)), codecs)
    proven_or_refused(model, tensors, data.draw(st.integers(0, 9)))


def miniature_of(**slots: dict[str, object]) -> tuple[Model, dict[str, np.ndarray]]:
    return miniature((), slots)


MLA = {"kind": "mla", "heads": 2, "kv_heads": 1, "kv_rank": 3}
PRIME = {"kind": "bigram_hash_prime", "buckets": 8, "table_dim": 4}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_a_row_of_zeros_hides_no_other_row(codec: str, size: float) -> None:
    """Where nothing bounds the norm of the input: behind the latent, and behind a table of token pairs."""
    if codec == "fp16" and size > 65_504:
        return
    model, weights = miniature_of(attention=MLA)
    for layer in range(model.layers):
        for name in ("k_up", "v_up", "proj"):
            weights[f"blocks.{layer}.attention.{name}"] = np.array([[0.0]] + [[size]] * 3 + [[0.5]] * 4)[
                : 4 if name != "proj" else 8
            ] * np.ones((1, 3 if name != "proj" else 8))
    loaded = proven_or_refused(model, unpacked(model, weights, codec))
    assert (loaded is not None) or size >= 1e6

    model, weights = miniature(())
    model = Model.model_validate(model.model_dump() | {"embed": {"mixers": [PRIME]}})
    weights["embed.mixers.0.table"] = np.ones((8, 4)) * 0.5
    weights["embed.mixers.0.proj"] = np.array([[0.0], *[[size]] * 7]) * np.ones((1, 4))
    loaded = proven_or_refused(model, unpacked(model, weights, codec))
    assert (loaded is not None) or size >= 1000.0


@pytest.mark.parametrize("size", [1e-30, 0.3, 1e4, 2.0**70, 2.0**120])
@pytest.mark.parametrize("cap", [0.5, 30.0, 1000.0])
def test_logits_of_any_size_keep_their_sign(size: float, cap: float) -> None:
    model, weights = miniature_of(head={"kind": "untied", "softcap": cap})
    weights["head.weight"] = size * np.where(np.arange(16)[:, None] % 2, 1.0, -1.0) * np.ones((1, 8))
    logits = proven_or_refused(model, unpacked(model, weights, "int8"))
    assert logits is not None
    assert (logits[..., 1::2] == -logits[..., ::2]).all()
    if size > 1e9:
        assert (np.abs(logits) >= int(1023 * cap)).all()
    if size < 1e-9:
        assert (logits == 0).all()


@pytest.mark.parametrize("gain", [0.0, 1000.0, -1000.0, 1e6, 1e9, 1e30])
@pytest.mark.parametrize("attention", [{"kind": "gqa", "heads": 2, "kv_heads": 1}, MLA])
def test_scores_of_any_gain_are_exact(attention: dict[str, object], gain: float) -> None:
    """Queries and keys of one direction, in every token: their products are as large as the gain allows."""
    model, weights = miniature_of(attention=attention)
    for name, array in weights.items():
        if name.endswith((".q", ".k", "kv_down", "k_up", "embed.weight")):
            weights[name] = np.ones_like(array)
        if name.endswith("q_gain"):
            weights[name] = np.full(array.shape, gain)
    assert (proven_or_refused(model, unpacked(model, weights, "int8")) is None) == (gain > 1e12)


@pytest.mark.parametrize("cap", [1e-300, 1e-5, 1e7, 1e300])
def test_a_softcap_that_no_table_can_hold_is_refused(cap: float) -> None:
    model, weights = miniature_of(head={"kind": "tied", "softcap": cap})
    with pytest.raises(ConfigError, match=r"softcap.*\(in model\.head\.softcap\)"):
        Exact(model, unpacked(model, weights, "int8"))


@pytest.mark.parametrize("size", [0.0, 1000.0, 2.0**100])
@pytest.mark.parametrize("kind", ["smear_lerp", "smear_keep"])
def test_gates_of_any_size_open_and_close(kind: str, size: float) -> None:
    model, _ = miniature(())
    model = Model.model_validate(model.model_dump() | {"embed": {"mixers": [{"kind": kind}]}})
    weights = generic_weights(model)
    weights["embed.mixers.0.gate"] = size * np.array([-1.0, 1.0] * 4)
    assert proven_or_refused(model, unpacked(model, weights, "int8")) is not None


@pytest.mark.parametrize("codec", CODECS)
def test_unpacked_tensors_are_those_of_the_file(codec: str) -> None:
    model, weights = miniature(("bigram_hash", "smear_lerp"))
    for quick, stored in zip(
        unpacked(model, weights, codec), packed(model, weights, codec).tensors, strict=True
    ):
        assert (quick.integers().codes == stored.integers().codes).all()
        assert (quick.integers().scales == stored.integers().scales).all()


@pytest.mark.parametrize("rows", [1023, 1024, 1100, 1152, 2048])
def test_a_wide_matrix_takes_few_vectors_as_it_takes_many(rows: int) -> None:
    rng = np.random.default_rng(rows)
    codes = rng.integers(-127, 128, (rows, 24))
    stored = Stored("w", codes.shape, codes, np.full(rows, 2.0**-9))
    linear = Linear(CheckedOps(), [stored], limit=16.0, clamp=False)
    x = np.rint(rng.uniform(-16, 16, (11, 24)) * pow2(linear.bits))
    for few in (1, 2, 3, 8, 9, 11):
        y = np.asarray(linear(proven(x[:few] * pow2(-linear.bits))))
        whole = x[:few].astype(np.int64) @ codes.T
        assert (y == whole * pow2(-linear.bits - 9)).all()


@given(st.data())
def test_a_matrix_is_exact_up_to_its_limit(data: st.DataObject) -> None:
    """Inputs at the limit, all of one sign: the worst sum there is. The result never leaves its bound."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 16)))
    rows, cols = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([1, 2, 7, 64, 300]))
    most = data.draw(st.sampled_from([1, 15, 127, 16_383, 1 << 30, 1 << 40]))
    codes = rng.integers(-most, most + 1, (rows, cols)) * (rng.random((rows, 1)) < 0.8)
    codes[0] = data.draw(st.sampled_from([0, most, -most]))
    scales = np.ldexp(rng.random(rows), data.draw(st.integers(-60, 30)))
    limit = data.draw(st.sampled_from([0.0, 1e-9, 0.5, 0.999, 16.0, 22.6, 256.0]))
    norm = data.draw(st.sampled_from([math.inf, limit]))
    clamp = data.draw(st.booleans())
    tensor = Unpacked("w", "matrix", "int8", (rows, cols), b"", whole=Integers(codes, scales))
    try:
        linear = Linear(CheckedOps(), [Stored.of(tensor)], limit=limit, clamp=clamp, norm=norm)
    except ArtifactError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert refusal.startswith("tensor w:")
        assert most * cols * max(limit, 1.0) > 2.0**44
        return
    x = limit * np.stack([np.ones(cols), -np.ones(cols), np.sign(codes[-1]), rng.uniform(-1, 1, cols)])
    if norm < math.inf:
        x = np.concatenate((x / math.sqrt(cols), limit * np.eye(cols)[:2]))
    if clamp:
        x = np.concatenate((x, 1e6 * x))
    y = np.asarray(linear(proven(x)))
    assert (np.abs(y) <= linear.row_bounds).all() or clamp
    assert np.isfinite(linear.row_bounds).all()
    assert linear.bound == linear.row_bounds.max()
    if not clamp:  # an input is off by half a step of its grid at most
        half = np.abs(codes).sum(axis=1) * scales * pow2(-linear.bits - 1)
        assert (np.abs(y - x @ (codes * scales[:, None]).T) <= half * 1.001 + 1e-300).all()


@given(st.integers(1, 4096), st.floats(1e-12, 1e4), st.integers(0, 9))
def test_a_norm_is_exact_up_to_its_bound(length: int, bound: float, seed: int) -> None:
    bits = square_grid(bound, length, "x")
    rng = np.random.default_rng(seed)
    x = bound * np.stack((np.ones(length), rng.choice([-1.0, 1.0], length), rng.uniform(-1, 1, length)))
    normed = np.asarray(Norm(CheckedOps(), length, bits)(proven(np.rint(x * pow2(bits)))))
    assert (np.linalg.norm(normed, axis=1) <= math.sqrt(length) * (1 + 1e-12)).all()


@given(st.floats(1e-30, 1e12), st.integers(4, 12), st.integers(12, 40))
def test_a_grid_is_the_finest_that_fits(magnitudes: float, least: int, most: int) -> None:
    """Not beyond 2^53, and not two bits below what fits."""
    try:
        bits = grid(magnitudes, "w", least, most)
    except ArtifactError:
        assert magnitudes * 2.0**least > 2.0**52
        return
    assert least <= bits <= most
    assert magnitudes * 2.0**bits < LIMIT
    assert bits == most or magnitudes * 2.0 ** (bits + 1) > 2.0**52


@pytest.mark.parametrize("magnitudes", [math.inf, math.nan])
def test_no_grid_is_planned_without_a_bound(magnitudes: float) -> None:
    with pytest.raises(ArtifactError, match="tensor w: its sums cannot be exact"):
        grid(magnitudes, "w")


def test_a_long_window_of_equal_scores_and_largest_values_stays_exact() -> None:
    """As tight as attention gets: 4,096 keys of full weight, and values at their bound. Then it is too long."""

    def model_of(window: int) -> Model:
        attention = {"kind": "gqa", "heads": 1, "kv_heads": 1, "window": window}
        small = {"vocab_size": 3, "dim": 2, "layers": 1, "context": 8, "mlp": {"kind": "relu2", "hidden": 1}}
        slots = {"attention": attention, "plan": {"kind": "plain"}, "head": {"kind": "tied"}}
        return Model.model_validate(small | slots)

    model = model_of(4096)
    weights = {t.name: np.ones(t.shape) for t in manifest(model).tensors}
    weights["blocks.0.attention.q_gain"] = np.zeros(1)
    weights["blocks.0.attention.v"] = np.full((2, 2), 127.5)  # times the norm 2 of the input: just below 256
    engine, Proven.tightest = Exact(model, unpacked(model, weights, "fp16"), CheckedOps()), 0.0
    state = engine.start(1)
    for _ in range(17):
        engine.read(state, np.ones((1, 256), np.int64))
    assert 2.0**51.5 < Proven.tightest < LIMIT
    with pytest.raises(ArtifactError, match=r"tensor blocks\.0\.attention\.v"):
        Exact(model_of(1 << 20), unpacked(model, weights, "fp16"))


@pytest.mark.parametrize("vocab_size", [2, 3, 257, 1024, 65_535, 65_536])
@pytest.mark.parametrize("case", ["equal", "one dominates", "two dominate", "noise"])
def test_frequencies_sum_to_their_total(vocab_size: int, case: str) -> None:
    small = {"vocab_size": vocab_size, "dim": 2, "layers": 1, "context": 8}
    slots = {name: {"kind": kind} for name, kind in (("mlp", "relu2"), ("plan", "plain"), ("head", "untied"))}
    slots["mlp"]["hidden"] = 4  # type: ignore[assignment]
    attention = {"kind": "gqa", "heads": 1, "kv_heads": 1}
    model = Model.model_validate(small | slots | {"attention": attention})
    weights = generic_weights(model)
    head = 1e-3 * weights["head.weight"] if case == "noise" else np.zeros((vocab_size, 2))
    weights["embed.weight"] = np.ones((vocab_size, 2))
    if "one" in case:
        head[-1] = 1e4
    if "two" in case:
        head[[0, -1]] = 1e4
    weights["head.weight"] = head
    engine = Exact(model, unpacked(model, weights, "int8"), CheckedOps())
    logits, extras = outputs(engine, np.zeros((1, 3), np.int64))
    check_extras(extras, vocab_size)
    free = TOTAL - vocab_size
    if case == "equal":
        assert (extras[..., 1:] == free // vocab_size).all()
        assert (extras[..., 0] == free // vocab_size + free % vocab_size).all()  # to the first of the largest
    if case == "two dominate" and vocab_size > 2:
        assert (np.sort(extras, axis=-1)[..., -2:].min(axis=-1) > 0.4 * free).all() or logits.max() <= 0


def test_every_registered_variant_has_been_attacked() -> None:
    assert {(slot, kind) for slot in OPTIONS for kind in OPTIONS[slot]} == set(REGISTERED)
