"""A score is the sum of the targets over the bytes of the raw text, and refuses a text that is not as it says."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bytegolf.config.schema import Score as Settings
from bytegolf.errors import DataError
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.bpb import HeldOut, score
from bytegolf.score.passes import target_nats
from model_samples import generic_weights, system
from tiny import tiny_dataset

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
WEIGHTS = {name: array.astype(np.float32) for name, array in generic_weights(MODEL).items()}
TOKENS = np.random.default_rng(0).integers(0, 20, 40).astype(np.uint16)
TEXT = HeldOut(TOKENS, (0, 13, 30), bytes(77))
SLIDING = Settings(context=6, stride=2)


def backend(weights: dict[str, np.ndarray] = WEIGHTS) -> TorchBackend:
    made = TorchBackend(MODEL, device="cpu")
    made.load(weights)
    return made


def test_a_uniform_model_costs_the_log_of_its_vocabulary() -> None:
    uniform = backend({**WEIGHTS, "embed.weight": np.zeros((20, 16), np.float32)})
    result = score(uniform, TEXT, SLIDING)
    assert result.bpb == pytest.approx(math.log2(20) * 39 / 77)
    assert result.nats_per_token == pytest.approx(math.log(20))
    assert (result.targets, result.bytes, result.documents) == (39, 77, 3)
    told = result.to_json()
    assert told["text_sha256"] == hashlib.sha256(bytes(77)).hexdigest()
    assert (told["score"]["context"], told["score"]["stride"]) == (6, 2)


@pytest.mark.parametrize("documents", ["stream", "isolated"])
@pytest.mark.parametrize("stride", [3, 6])
def test_bpb_is_the_sum_of_the_targets_over_the_bytes(documents: str, stride: int) -> None:
    settings = Settings.model_validate({"context": 6, "stride": stride, "documents": documents})
    result = score(backend(), TEXT, settings)
    starts = TEXT.starts if documents == "isolated" else (0,)
    nats = target_nats(backend(), TOKENS, 6, stride, starts)
    assert result.bpb == pytest.approx(nats.sum() / math.log(2) / 77, rel=1e-12)
    assert result.nats_per_token == pytest.approx(nats.mean(), rel=1e-12)


def test_the_held_out_text_of_a_dataset_is_checked_before_it_is_a_denominator(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path / "data")
    text = HeldOut.of(dataset)
    assert text.raw == dataset.text("val")
    assert text.sha256 == dataset.manifest.splits.val.sha256
    assert [text.tokens[start] for start in text.starts] == [0] * dataset.manifest.splits.val.documents
    assert len(text.tokens) == len(text.raw) + len(text.starts)
    entry = dataset.manifest.splits.val
    for wrong in ({"bytes": entry.bytes + 1}, {"sha256": "0" * 64}, {"documents": 1}):
        splits = dataset.manifest.splits.model_copy(update={"val": entry.model_copy(update=wrong)})
        changed = replace(dataset, manifest=dataset.manifest.model_copy(update={"splits": splits}))
        with pytest.raises(DataError, match="must"):
            HeldOut.of(changed)


def test_a_text_without_a_target_or_a_byte_has_no_score() -> None:
    for tokens, raw in ((TOKENS[:1], b"a"), (TOKENS, b"")):
        with pytest.raises(DataError, match="at least one target and one byte"):
            HeldOut(tokens, (0,), raw)
