"""Every preset, corrected and as published: small it trains, packs, reads back and scores; whole it packs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.artifact.format import Artifact, StoredTokenizer, from_bytes, to_bytes, write
from bytegolf.artifact.pack import pack
from bytegolf.codec import base
from bytegolf.codec.int_rows import IntRows
from bytegolf.codec.prune import magnitude_prune
from bytegolf.config.load import load_config, preset_names, to_tree, with_overrides
from bytegolf.config.schema import Config
from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import Corpus, stdlib
from bytegolf.data.dataset import Dataset
from bytegolf.data.loader import Batches
from bytegolf.model.init import initial_weights
from bytegolf.model.shrink import STEPS, shrunk
from bytegolf.model.spec import manifest
from bytegolf.model.storage import codec_overrides, codecs_of, pruned_tensors
from bytegolf.on_numpy import forward
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.gpt import Gpt
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.packed import load_packed
from bytegolf.train.export import export
from bytegolf.train.fit import fit
from bytegolf.train.plan import planned_tensors, predicted
from bytegolf.verify.battery import examine
from bytegolf.verify.check import Case
from bytegolf.verify.packed import PackedSubject
from model_samples import generic_weights, random_ids

PARAMETERS = {
    "baseline": 17_059_912,
    "pr102-int6-smear": 21_779_016,
    "pr162-bigram-swa": 22_368_841,
    "pr489-partial-rope-ttt": 17_383_481,
    "pr354-mla": 41_120_872,
    "pr342-mlx": 19_716_545,
    "pr180-int5": 25_517_137,
}
DEAD = {
    "pr489-partial-rope-ttt-as-published": {f"embed.mixers.0.{t}" for t in ("table", "proj", "scale")},
    "pr342-mlx-as-published": {f"embed.mixers.0.{t}" for t in ("table", "proj", "scale")},
}
VOCAB = 1024
EVERY_PRESET = pytest.mark.parametrize("name", preset_names())
PUBLISHED_162_BYTES = 15_810_407


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A part of the standard library, enough for a thousand tokens of vocabulary."""
    whole = stdlib()
    part = Corpus("part", [d for d in whole.documents if len(d.data) < 30_000][::3], "a third of the stdlib")
    return build_dataset(part, tmp_path_factory.mktemp("data") / "part", VOCAB)


def trial(name: str) -> Config:
    """The shrunk preset with even fewer tokens a step."""
    config = shrunk(load_config(name))
    overrides = ["train.rows=4", "model.context=64", "score.stride=32", "train.precision=fp32"]
    return with_overrides(config, [*overrides, f"model.vocab_size={VOCAB}"])


def test_every_system_is_there_corrected_and_as_published() -> None:
    assert set(preset_names()) == {"pocket", *PARAMETERS, *(f"{name}-as-published" for name in PARAMETERS)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_are_the_published_number(name: str) -> None:
    for preset in (name, f"{name}-as-published"):
        tensors = manifest(load_config(preset).model)
        assert tensors.parameters == PARAMETERS[name]
        assert tensors.dead == DEAD.get(preset, set())


@EVERY_PRESET
def test_a_preset_says_what_it_is_in_its_first_lines(name: str) -> None:
    import bytegolf

    text = (Path(bytegolf.__file__).parent / "presets" / f"{name}.toml").read_text()
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 46
    assert load_config(name).name == name
    assert load_config(name).about


@EVERY_PRESET
def test_shrinking_keeps_the_structure(name: str) -> None:
    whole = load_config(name)
    small = shrunk(whole)
    assert small.train.steps == STEPS
    assert manifest(small.model).parameters < 0.1 * manifest(whole.model).parameters
    assert manifest(small.model).roles() == manifest(whole.model).roles()
    assert manifest(small.model).dead == manifest(whole.model).dead
    assert codecs_of(manifest(small.model), small) == codecs_of(manifest(whole.model), whole)
    kinds = [o.kind for o in whole.train.optimizers.values()]
    assert [o.kind for o in small.train.optimizers.values()] == kinds
    assert small.train.averaging.kind == whole.train.averaging.kind


@EVERY_PRESET
def test_every_parameter_gets_a_gradient_within_three_steps_but_the_dead(name: str, library: Dataset) -> None:
    config = trial(name)
    backend = TorchBackend(config.model, device="cpu")
    backend.load(initial_weights(manifest(config.model), 0))
    trainer = backend.trainer(config.train)
    update, alive = trainer.optimizers.step, set()

    def watched(multiplier: float, step: int) -> None:
        alive.update(n for n, p in backend.gpt.named_parameters() if p.grad is not None and p.grad.any())
        update(multiplier, step)

    trainer.optimizers.step = watched  # type: ignore[method-assign]
    batches = Batches.of(library.train_stream(), context=config.model.context, rows=16, seed=0)
    for step in range(3):
        trainer.step(batches.batch(step).ids, 1.0, step)
    assert set(manifest(config.model).roles()) - alive == DEAD.get(name, set())


@EVERY_PRESET
@settings(max_examples=3)
@given(seed=st.integers(0, 99), length=st.integers(2, 24))
def test_torch_and_numpy_agree_on_the_system(name: str, seed: int, length: int) -> None:
    model = trial(name).model.model_copy(update={"vocab_size": 40})
    weights = {n: 0.3 * w for n, w in generic_weights(model, seed).items()}
    ids = random_ids(model, 1, length, seed)
    gpt = Gpt(model).double()
    gpt.load_state_dict({n: torch.tensor(w) for n, w in weights.items()})
    found = gpt(torch.tensor(ids))[0].detach().numpy()
    assert np.allclose(found, forward.logits(model, weights, ids[0]), rtol=0, atol=1e-10)


class Losses:
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step(self, record: Any) -> None:
        self.seen.append(record.loss)

    def close(self) -> None:
        pass


@pytest.mark.slow
@EVERY_PRESET
def test_small_it_trains_packs_reads_back_and_scores(name: str, library: Dataset, tmp_path: Path) -> None:
    config, losses = trial(name), Losses()
    run = fit(config, library, tmp_path / "run", device="cpu", hooks=[losses])
    assert len(losses.seen) == STEPS
    assert np.mean(losses.seen[-5:]) < np.mean(losses.seen[:5]) - 0.5
    assert run.summary["averaged"] == (config.train.averaging.kind == "swa")
    write(tmp_path / "model.golf", export(run, config))
    packed = load_packed(tmp_path / "model.golf", device="cpu")
    assert packed.config == config
    tokens = library.val_tokens()[:3000]
    text = HeldOut.of_text(tokens, (0,), library.tokenizer.decode(tokens.tolist()))
    settings = config.score.model_copy(update={"context": 64, "stride": 32})
    scored = score(packed.backend, text, settings)
    assert scored.targets == 2999
    assert 0 < scored.bpb < math.log2(VOCAB) * 2999 / text.n_bytes
    documents = [library.tokenizer.decode(document) for document in library.documents("val")]
    case = Case(PackedSubject(packed, settings, tmp_path / "model.golf"), documents, sample=100)
    assert not [(f.id, f.measured) for f in examine(case) if f.status == "fail"]


def gaussian(config: Config) -> Artifact:
    """The whole system packed with Gaussian weights of the size that training is assumed to give them."""
    rng = np.random.default_rng(0)
    tensors = manifest(config.model)
    std = {t.name: np.float32(t.std) for t in planned_tensors(config)}
    weights = {t.name: rng.standard_normal(t.shape, np.float32) * std[t.name] for t in tensors.tensors}
    tokenizer = StoredTokenizer("bpe", config.model.vocab_size, bytes(2000))
    codecs = {str(role): codec for role, codec in config.pack.codecs.items()}
    for name in pruned_tensors(tensors, config.pack):
        assert config.pack.prune is not None
        weights[name] = magnitude_prune(weights[name], config.pack.prune.share)
    artifact = pack(weights, tensors.roles(), codecs, to_tree(config), tokenizer, {}, codec_overrides(config))
    for tensor in from_bytes(to_bytes(artifact)).tensors:
        decoded, codec = tensor.weights(), base.get(tensor.codec)
        if isinstance(codec, IntRows):
            expected = codec.quantize(weights[tensor.name]).dequantize().reshape(tensor.shape)
        else:
            expected = weights[tensor.name].astype(np.float16).astype(np.float32)
        assert decoded.tobytes() == expected.tobytes(), tensor.name
    return artifact


@pytest.mark.slow
@EVERY_PRESET
def test_whole_it_packs_reads_back_bit_for_bit_and_takes_the_bytes_that_plan_says(name: str) -> None:
    config = load_config(name)
    size = len(to_bytes(gaussian(config)))
    assert size == pytest.approx(predicted(config).gaussian.total, rel=0.005)
    if name == "pr162-bigram-swa":
        assert size < PUBLISHED_162_BYTES
