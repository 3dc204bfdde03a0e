"""Laws of the prediction: Gaussian weights take what is predicted, and every byte of a file is predicted once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bytegolf import registry
from bytegolf.artifact.format import StoredTokenizer
from bytegolf.artifact.ledger import ledger
from bytegolf.artifact.pack import pack
from bytegolf.artifact.predict import (
    LONG_STEPS,
    PEAK_SCALED,
    SHORT_STEPS,
    PlannedTensor,
    Prediction,
    predict,
    tensor_bytes,
    tokenizer_bytes,
    trained_std,
)
from bytegolf.codec.prune import magnitude_prune
from bytegolf.config.schema import ROLES
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer

CONFIG = {"model": {"width": 8, "name": "größer"}, "train": {"lr": 0.02}}
PROVENANCE = {"version": "0.1.0", "steps": 1000, "data": {"train_sha256": "0" * 64}}
CODECS = {"embed": "int8", "table": "int6", "matrix": "int5", "scalar": "fp16", "head": "int8_clip_floor"}
SHAPES = {
    "embed": (512, 64),
    "table": (4096, 16),
    "matrix": (128, 256),
    "scalar": (700,),
    "head": (512, 64),
}


def planned(**changes: Any) -> list[PlannedTensor]:
    return [
        PlannedTensor(f"{role}.weight", role, CODECS[role], SHAPES[role], 0.02 * (i + 1), **changes)
        for i, role in enumerate(CODECS)
    ]


def prediction(tensors: list[PlannedTensor], steps: int | None = None) -> Prediction:
    return predict(tensors, CONFIG, "bytes", 257, PROVENANCE, steps)


@pytest.mark.parametrize("pruned", [0.0, 0.3])
def test_gaussian_weights_take_what_the_law_says_within_half_a_percent(pruned: float) -> None:
    tensors, rng = planned(pruned=pruned), np.random.default_rng(3)
    weights = {t.name: rng.normal(0, t.std, t.shape).astype(np.float32) for t in tensors}
    if pruned:
        weights = {name: magnitude_prune(array, pruned) for name, array in weights.items()}
    tokenizer = StoredTokenizer("bytes", 257, ByteTokenizer().to_bytes())
    real = ledger(pack(weights, {t.name: t.role for t in tensors}, CODECS, CONFIG, tokenizer, PROVENANCE))
    law = prediction(tensors).gaussian
    assert law.total == pytest.approx(real.total, rel=0.005)
    assert (law.tokenizer, law.fixed) == (real.tokenizer, real.fixed)
    assert abs(law.header - real.header) <= len(tensors), "the digits of a size, each at most one off"
    for expected, got in zip(law.roles, real.roles, strict=True):
        assert (expected.name, expected.codec, expected.elements) == (got.name, got.codec, got.elements)
        assert expected.bytes == pytest.approx(got.bytes, rel=0.006, abs=12)


def test_the_interval_holds_what_is_expected_and_the_roles_sum_to_the_total() -> None:
    for family in PEAK_SCALED:
        for steps in (None, 1, 60, 300, 5000):
            found = prediction(planned(family=family), steps)
            for row in found.expected.roles:
                assert found.low[row.name] <= row.bytes <= found.high[row.name]
            assert found.interval[0] < found.total < found.interval[1]
            assert found.to_json()["total"] == found.total
            rest = found.expected.tokenizer + found.expected.header + found.expected.fixed
            assert sum(row["bytes"] for row in found.to_json()["roles"]) + rest == found.total


def test_a_family_without_measurements_is_the_law_itself() -> None:
    found = prediction(planned(family="unheard of"))
    assert found.expected == found.gaussian


@pytest.mark.parametrize("family", PEAK_SCALED)
def test_deviations_move_with_the_steps_from_short_to_long(family: str) -> None:
    tensor = PlannedTensor("w", "matrix", "int6", (512, 512), 0.05, family=family)
    law = PlannedTensor("w", "matrix", "int6", (512, 512), 0.05)
    bits = [
        8 * (tensor_bytes(tensor, n) - tensor_bytes(law)) / tensor.elements
        for n in (1, SHORT_STEPS, LONG_STEPS, None)
    ]
    measured = PEAK_SCALED[family]
    assert bits == pytest.approx([measured.short, measured.short, measured.long, measured.long])
    assert measured.low <= min(measured.short, measured.long)
    assert max(measured.short, measured.long) <= measured.high


@pytest.mark.parametrize("codec", registry.names("codec"))
def test_tensors_that_stay_zero_cost_next_to_nothing(codec: str) -> None:
    tensor = PlannedTensor("w", "matrix", codec, (512, 512), 0.0, family="MLP output")
    assert tensor_bytes(tensor) < 40


def test_every_role_has_a_scale() -> None:
    for role in ROLES:
        assert 0 < trained_std(role, (8, 16), 100) < trained_std(role, (8, 16), 1000)
    assert trained_std("matrix", (8, 16)) == pytest.approx(2 * trained_std("matrix", (8, 64)))


def test_a_tokenizer_takes_the_bytes_predicted_before_it_is_trained() -> None:
    assert tokenizer_bytes("bytes", 257) == len(ByteTokenizer().to_bytes())
    assert [tokenizer_bytes("bpe", n) for n in (1024, 2048, 4096)] == [2001, 4818, 10_961]
    text = [b"the cat sat on the mat and the dog sat on the cat " * 3]
    for vocab in (258, 262, 270):
        made = BpeTokenizer.learn(text, vocab)
        assert tokenizer_bytes("bpe", made.vocab_size) == len(made.to_bytes())
