"""FineWeb through the command line: fetched, trained on, packed, scored, compressed with and proven."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bytegolf.cli.app import main
from bytegolf.data.dataset import open_dataset
from bytegolf.data.piece_bytes import Export
from bytegolf.errors import DataError
from bytegolf.score import held_out
from bytegolf.score.held_out import HeldOut
from bytegolf.train.results import standing
from cli_samples import PRESET, VOCAB, Answer, call
from fakes.hub import FakeHub
from fakes.toy_fineweb import REPO, toy_hub


def fetch(hub: FakeHub, folder: Path, *more: object) -> Answer:
    words = ("data", "fetch", "fineweb", "--variant", "sp500", "--repo", REPO, "--endpoint", hub.endpoint)
    return call(*words, "--out", folder, *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, run and run/model.golf of a fetched dataset; its tokenizer has no byte pieces."""
    root = tmp_path_factory.mktemp("fetched")
    with toy_hub(byte_fallback=False).serving() as hub:
        answer = fetch(hub, root / "data", "--train-shards", 3, "--json")
    assert answer.code == 0, answer.err
    vocab = json.loads(answer.out)["manifest"]["tokenizer"]["vocab_size"]
    preset = root / "tiny.toml"
    preset.write_text(PRESET.replace(f"vocab_size = {VOCAB}", f"vocab_size = {vocab}"), encoding="utf-8")
    trained = call("train", preset, "--data", root / "data", "--out", root / "run")
    assert trained.code == 0, trained.err
    assert "model.bos_id is 1, that of the dataset's tokenizer" in trained.err
    assert call("pack", root / "run").code == 0
    return root


def test_a_model_of_fetched_data_is_scored_over_the_bytes_of_whole_rows(made: Path) -> None:
    answer = call("score", made / "run/model.golf", "--data", made / "data", "--json")
    assert answer.code == 0, answer.err
    score = json.loads(answer.out)
    assert score["targets"] % 1024 == 0 < score["targets"]
    assert f"{score['targets']:,} targets are no published export" in answer.err
    assert "dictionaries choose from the first" in answer.err
    dataset = open_dataset(made / "data")
    tokens = dataset.val_tokens()[: score["targets"] + 1]
    assert score["bytes"] == len(dataset.tokenizer.decode(tokens))
    assert score["baselines"]["xz -9e"]["bytes"] < score["bytes"]


def test_a_published_export_must_have_its_known_bytes(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(made / "data")
    text = HeldOut.of(dataset)
    assert text.raw is not None
    assert (text.n_bytes, text.raw) == (len(text.raw), dataset.text("val")[: text.n_bytes])
    targets = len(text.tokens) - 1
    for module in (held_out, held_out.check_challenge_export.__globals__):
        known = Export(targets, text.n_bytes, 0)
        if isinstance(module, dict):
            monkeypatch.setitem(module, "CURRENT_EXPORT", known)
        else:
            monkeypatch.setattr(module, "CURRENT_EXPORT", known)
    assert HeldOut.of(dataset).note is None
    wrong = Export(targets, text.n_bytes + 1, 0)
    monkeypatch.setitem(held_out.check_challenge_export.__globals__, "CURRENT_EXPORT", wrong)
    with pytest.raises(DataError, match="published export of"):
        HeldOut.of(dataset)


def test_the_model_writes_compresses_and_is_proven(made: Path, tmp_path: Path) -> None:
    model = made / "run/model.golf"
    generated = call("generate", model, "--prompt", " The text", "--tokens", 20)
    assert generated.code == 0, generated.err
    text = tmp_path / "text"
    text.write_bytes(" a line\nand\ttwo \u2581 \U0001f600 ".encode() + b"\xff\xfe\x00 of 300 bytes" * 9)
    assert call("compress", model, text, "-o", tmp_path / "z").code == 0
    assert call("decompress", model, tmp_path / "z", "-o", tmp_path / "back").code == 0
    assert (tmp_path / "back").read_bytes() == text.read_bytes()
    proven = call("prove", model, "--text", text, "--json")
    assert proven.code == 0, proven.err
    assert json.loads(proven.out)["verdict"] == "pass"


def test_what_is_proven_is_what_was_scored(made: Path) -> None:
    """The text that ends with a whole row: its score is called proven only if the proof is about that text."""
    model = made / "run/model.golf"
    words = ("--data", made / "data", "--json")
    scored, proof = (json.loads(call(name, model, *words).out) for name in ("score", "prove"))
    assert proof["text"]["sha256"] == scored["text_sha256"]
    assert proof["text"]["bytes"] == scored["bytes"] < len(open_dataset(made / "data").text("val"))
    assert proof["bpb"]["float"] == pytest.approx(scored["bpb"], rel=1e-3)
    assert standing(made / "run", scored["artifact_sha256"]).state(scored) == "proven"


def test_the_referee_has_no_training_text_and_says_so(made: Path) -> None:
    words = ("verify", made / "run/model.golf", "--data", made / "data", "--sample", 400, "--json")
    answer = call(*words, "--check", "T1", "--check", "T6", "--check", "T7", "--check", "T8")
    assert answer.code == 0, answer.out + answer.err
    status = {check["id"]: check["status"] for check in json.loads(answer.out)["checks"]}
    assert status == {"T1": "pass", "T6": "pass", "T7": "pass", "T8": "not run"}
    assert "training shards were fetched as tokens" in answer.err


def test_packing_into_a_budget_knows_its_text_by_the_shards(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "fit.golf"
    fits = call("pack", made / "run", "--fit", 40_000, "--calibration-tokens", 256, "--out", out)
    assert fits.code == 0, fits.err
    manifest = json.loads((made / "data/manifest.json").read_bytes())
    manifest["splits"]["train"]["files"].pop()
    other = tmp_path / "other"
    shutil.copytree(made / "data", other)
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    fits = call("pack", made / "run", "--fit", 40_000, "--data", other, "--out", tmp_path / "x.golf")
    assert fits.code == 2
    assert "--fit measures on the training text that the run was trained with" in fits.err


def test_the_answer_says_what_was_fetched(tmp_path: Path) -> None:
    with toy_hub().serving() as hub:
        first = fetch(hub, tmp_path / "d", "--json")
        again = fetch(hub, tmp_path / "d")
        hub.status = 503
        away = fetch(hub, tmp_path / "d")
        refused = fetch(hub, tmp_path / "e")
    answer = json.loads(first.out)
    assert (first.code, answer["files"], answer["notice"]) == (0, 4, None)
    assert answer["manifest"]["origin"]["repo"] == REPO
    assert "fetched 0 files" in again.out
    assert away.code == 0
    assert "the manifest was not refreshed" in away.err
    assert refused.code == 2
    assert refused.err.count("error:") == 1
    assert "Traceback" not in refused.err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "--help"]) == 0
    assert "bytegolf data fetch fineweb" in capsys.readouterr().out
