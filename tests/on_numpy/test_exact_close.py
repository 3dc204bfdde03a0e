"""The exact arithmetic is the model of on_numpy/forward.py, but for rounding."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.artifact.format import Artifact
from bytegolf.config.schema import Model
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_numpy import forward
from bytegolf.on_numpy.exact.engine import TOTAL, Exact
from bytegolf.on_numpy.exact.tables import CAP_STEPS, NAT
from bytegolf.on_torch.gpt import Gpt
from exact_samples import outputs, packed, trained_like
from model_samples import REGISTERED, generic_weights, models, random_ids

CODECS = ("fp16", "int8", "int6", "int5", "ecsq")


def last_steps(cap: float) -> float:
    """How far the last two roundings move a logit: to a step of the softcap's table, and to 1 / NAT."""
    return cap / CAP_STEPS / 2 + 1 / NAT / 2


def distance(model: Model, artifact: Artifact, ids: np.ndarray) -> float:
    """The largest difference of a logit, in nats."""
    logits, _ = outputs(Exact(model, artifact.tensors), ids)
    rows = [forward.logits(model, artifact.weights(), row) for row in ids]
    return float(np.abs(logits / NAT - np.stack(rows)).max())


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=4)
@given(data=st.data())
def test_logits_are_those_of_the_float_model(codec: str, data: st.DataObject) -> None:
    """Attention scores are whole 1 / NAT nats, so a weight of a softmax is off by a part in 2 NAT. The values'
    mean moves by that part of their spread, which is a few units, and one to four layers of gain about 1 pass
    it on to logits whose rows have norms of a few units: 16 / NAT in all is far above what can add up, and far
    below what any missing term would do."""
    model = data.draw(models(*data.draw(st.sampled_from(REGISTERED))))
    artifact = packed(model, trained_like(model, data.draw(st.integers(0, 9))), codec)
    ids = random_ids(model, 2, data.draw(st.integers(1, 12)), data.draw(st.integers(0, 9)))
    assert distance(model, artifact, ids) <= last_steps(model.head.softcap) + 16 / NAT


@pytest.mark.parametrize(("slot", "kind"), REGISTERED)
@settings(max_examples=2)
@given(data=st.data())
def test_no_term_of_the_model_is_missing(slot: str, kind: str, data: st.DataObject) -> None:
    """With weights where nothing is near zero or one. Squares of large activations and gains of half a unit
    amplify roundings some hundred times in the worst of these models; half of them stay within the last steps."""
    model = data.draw(models(slot, kind))
    artifact = packed(model, generic_weights(model, data.draw(st.integers(0, 9))), "int8")
    ids = random_ids(model, 2, 9, data.draw(st.integers(0, 9)))
    assert distance(model, artifact, ids) <= last_steps(model.head.softcap) + 256 / NAT


TEXT = "a model that has seen some text knows what comes next, and what comes next is what it has seen; "


@functools.cache
def trained() -> tuple[Model, dict[str, np.ndarray], np.ndarray]:
    """A model, a second of training on one sentence with mistakes in it, and rows it has not seen."""
    letters = sorted(set(TEXT))
    text = np.array([letters.index(c) + 1 for c in TEXT])
    mixers = [{"kind": "bigram_hash", "buckets": 64, "table_dim": 8}, {"kind": "smear_lerp"}]
    model = Model.model_validate(
        {
            "vocab_size": len(letters) + 1,
            "dim": 32,
            "layers": 2,
            "context": 32,
            "embed": {"mixers": mixers},
            "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2},
            "mlp": {"kind": "relu2", "hidden": 64},
            "plan": {"kind": "unet"},
            "head": {"kind": "tied"},
        }
    )
    rng = np.random.default_rng(0)
    rolled = np.stack([np.roll(text, i) for i in range(80)])
    noise = rng.integers(1, len(letters) + 1, rolled.shape)
    rows = np.insert(np.where(rng.random(rolled.shape) < 0.1, noise, rolled), 0, 0, axis=1)
    gpt = Gpt(model)
    gpt.load_state_dict({name: torch.tensor(a) for name, a in initial_weights(manifest(model), 0).items()})
    for step in range(50):
        ids = torch.tensor(rows[np.arange(4) + 4 * (step % 16)])
        gradients = torch.autograd.grad(gpt.nll(ids[:, :-1], ids[:, 1:]).mean(), list(gpt.parameters()))
        for parameter, gradient in zip(gpt.parameters(), gradients, strict=True):
            parameter.data -= 0.01 * (1 - step / 50) * gradient.sign()
    weights = {name: tensor.detach().numpy() for name, tensor in gpt.state_dict().items()}
    return model, weights, rows[64:]


@pytest.mark.parametrize("codec", CODECS)
def test_a_trained_model_costs_the_bits_it_is_scored_at(codec: str) -> None:
    model, weights, rows = trained()
    artifact = packed(model, weights, codec)
    _, extras = outputs(Exact(model, artifact.tensors), rows[:, :-1])
    taken = np.take_along_axis(extras, rows[:, 1:, None], axis=-1)
    bits = float(-np.log2((1 + taken) / TOTAL).sum())
    decoded = artifact.weights()
    nats = sum(forward.nll(model, decoded, row[:-1], row[1:]).sum() for row in rows)
    scored = float(nats) / math.log(2)
    assert 0.3 < scored / rows[:, 1:].size < 4  # it has learned something, and not all
    assert abs(bits - scored) <= 0.0005 * scored
