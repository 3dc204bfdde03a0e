"""Text with its capitals set apart, from the text to the sampled text: scored on the bytes of the original."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from bytegolf.artifact import format as golf
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.dataset import open_dataset
from bytegolf.data.tokenizer import BpeTokenizer
from bytegolf.score.packed import load_packed
from cli_samples import PRESET, VOCAB, call


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a run and an artifact."""
    root = tmp_path_factory.mktemp("case")
    stream = random.Random(0)
    words = ["".join(stream.choices("abcdefghij", k=stream.randint(2, 8))) for _ in range(300)]
    forms = [str, str.upper, str.capitalize]
    lines = [" ".join(stream.choice(forms)(w) for w in stream.choices(words, k=8)) for _ in range(2400)]
    (root / "source.txt").write_text("\n".join(lines), encoding="utf-8")
    (root / "tiny.toml").write_text(PRESET, encoding="utf-8")
    source, data, run = root / "source.txt", root / "data", root / "run"
    for command in (
        ("data", "build", "--source", source, "--out", data, "--vocab", VOCAB, "--tokenizer", "case_bpe"),
        ("train", root / "tiny.toml", "--data", data, "--out", run),
        ("pack", run),
    ):
        answer = call(*command)
        assert answer.code == 0, answer.err
    return root


def test_the_score_is_over_the_bytes_of_the_original(root: Path) -> None:
    words = ("score", root / "run" / "model.golf", "--data", root / "data", "--no-baselines", "--json")
    scored = json.loads(call(*words).out)
    dataset, source = open_dataset(root / "data"), (root / "source.txt").read_bytes()
    held_out = [dataset.tokenizer.decode(tokens) for tokens in dataset.documents("val")]
    assert all(document in source for document in held_out)
    assert scored["bytes"] == sum(map(len, held_out)) == dataset.byte_counts("val").sum()
    assert scored["bpb"] == pytest.approx(scored["unpacked_bpb"], abs=0.02)


def test_the_artifact_carries_the_tokenizer(root: Path) -> None:
    packed = load_packed(root / "run" / "model.golf", "cpu")
    assert packed.artifact.tokenizer.kind == packed.tokenizer.kind == "case_bpe"
    assert packed.tokenizer.sha256 == open_dataset(root / "data").tokenizer.sha256
    assert packed.tokenizer.decode(packed.tokenizer.encode(b"Any TEXT")) == b"Any TEXT"


def test_text_is_sampled_without_operators(root: Path) -> None:
    words = ("generate", root / "run" / "model.golf", "--prompt", "Ab CDE", "--tokens", 40)
    for seed in range(5):
        answer = call(*words, "--json", "--seed", seed, "--temperature", 5)
        assert answer.code == 0
        assert json.loads(answer.out)["text"]
    cold = json.loads(call(*words, "--json", "--temperature", 0).out)["text"]
    assert not set(cold) & set("\x0e\x0f\x10")


def test_a_damaged_tokenizer_inside_is_named(root: Path, here: Path) -> None:
    artifact = golf.read(root / "run" / "model.golf")
    stored = artifact.tokenizer
    short = CaseBpeTokenizer(BpeTokenizer([bytes([value]) for value in range(256)])).to_bytes()
    for blob, says in ((stored.blob[:-9], "tokenizer inside is damaged"), (short, "a tokenizer of 257")):
        golf.write(here / "x.golf", replace(artifact, tokenizer=replace(stored, blob=blob)))
        answer = call("generate", "x.golf")
        assert answer.code == 2
        assert says in answer.err


def test_an_embedded_corpus_is_kept_under_the_name_of_the_tokenizer(here: Path) -> None:
    from bytegolf.cli.datasets import named

    assert named("stdlib", 512, here, "case_bpe").name.startswith("stdlib-case_bpe512-py")
    answer = call("data", "build", "stdlib", "--tokenizer", "case_bp", "--cache", here)
    assert answer.code == 2
    assert "case_bpe" in answer.err


def test_the_referee_counts_original_bytes_too(root: Path) -> None:
    words = ("verify", root / "run" / "model.golf", "--data", root / "data", "--sample", "200", "--json")
    answer = call(*words)
    told = json.loads(answer.out)
    assert not [check for check in told["checks"] if check["status"] == "fail"]
    facts = {check["id"]: check["figures"] for check in told["checks"]}
    assert facts["T7"]["bytes"] == open_dataset(root / "data").manifest.splits.val.bytes
