"""A score is the sum of the targets over the bytes of the raw text, and refuses a text that is not as it says."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from bytegolf.config.schema import Score as Settings
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.passes import target_nats
from model_samples import generic_weights, system

MODEL = system(layers=2, dim=16, hidden=8, buckets=5).model_copy(update={"vocab_size": 20, "context": 6})
WEIGHTS = {name: array.astype(np.float32) for name, array in generic_weights(MODEL).items()}
TOKENS = np.random.default_rng(0).integers(0, 20, 40).astype(np.uint16)
TEXT = HeldOut.of_text(TOKENS, (0, 13, 30), bytes(77))
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
