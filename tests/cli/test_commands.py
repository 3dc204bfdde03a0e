"""The main job through the command line: what each command prints, returns and leaves behind."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bytegolf.train.results import scorings
from cli_samples import VOCAB, Answer, Lab, call, listing

COMMANDS = ("data build", "train", "pack", "score", "generate")


def result(answer: Answer) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(answer.out)
    return parsed


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_on_stdout_and_all_else_goes_to_stderr(
    answers: dict[str, Answer], command: str
) -> None:
    answer = answers[command]
    assert answer.out.count("\n") == 1
    assert isinstance(result(answer), dict)
    assert command == "generate" or answer.err, "what a reader wants to see is still printed"
    assert "error" not in answer.err


def test_data_build_reports_the_manifest_that_it_wrote(lab: Lab, answers: dict[str, Answer]) -> None:
    built = result(answers["data build"])
    assert built["folder"] == str(lab.data)
    assert built["manifest"] == json.loads((lab.data / "manifest.json").read_text())
    assert built["manifest"]["tokenizer"]["vocab_size"] == VOCAB


def test_train_reports_the_run_and_leaves_all_that_packing_needs(
    lab: Lab, answers: dict[str, Answer]
) -> None:
    trained = result(answers["train"])
    assert trained["run"] == str(lab.run)
    assert (trained["steps"], trained["tokens"], trained["interrupted"]) == (30, 30 * 2 * 32, False)
    assert {k: v for k, v in trained.items() if k != "run"} == json.loads((lab.run / "run.json").read_text())
    lines = [json.loads(line) for line in (lab.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert {"step", "loss", "tokens", "seconds"} <= lines[0].keys()
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert f"next: bytegolf pack {lab.run}" in answers["train"].err


def test_the_resolved_config_of_a_run_trains_the_same_weights_again(lab: Lab, here: Path) -> None:
    assert call("train", lab.run / "config.toml", "--data", lab.data, "--out", "again").code == 0
    assert (here / "again" / "config.toml").read_bytes() == (lab.run / "config.toml").read_bytes()
    again, first = here / "again" / "weights.safetensors", lab.run / "weights.safetensors"
    assert again.read_bytes() == first.read_bytes()


def test_the_ledger_of_pack_names_every_byte_of_the_file_once(lab: Lab, answers: dict[str, Answer]) -> None:
    packed = result(answers["pack"])
    assert packed["artifact"] == str(lab.artifact)
    assert packed["total"] == lab.artifact.stat().st_size <= packed["budget"] == 100_000
    rest = packed["tokenizer"] + packed["header"] + packed["fixed"]
    for part in ("roles", "tensors"):
        assert sum(row["bytes"] for row in packed[part]) + rest == packed["total"]


def test_score_counts_every_held_out_byte_and_target(lab: Lab, answers: dict[str, Answer]) -> None:
    scored = result(answers["score"])
    held_out = json.loads((lab.data / "manifest.json").read_text())["splits"]["val"]
    assert scored["bytes"] == held_out["bytes"]
    assert scored["targets"] == held_out["tokens"] - 1
    assert scored["documents"] == held_out["documents"]
    assert scored["text_sha256"] == held_out["sha256"]
    assert scored["artifact_sha256"] == hashlib.sha256(lab.artifact.read_bytes()).hexdigest()
    assert scored["artifact_bytes"] == lab.artifact.stat().st_size
    assert (scored["score"]["context"], scored["score"]["stride"]) == (32, 16)
    bits = scored["nats_per_token"] * scored["targets"] / math.log(2)
    assert scored["bpb"] == pytest.approx(bits / scored["bytes"])
    assert scored["bpb"] < math.log2(VOCAB) * scored["targets"] / scored["bytes"], "better than chance"
    assert scored["bpb"] == pytest.approx(scored["unpacked_bpb"], abs=0.02)


def test_pack_names_the_command_that_scores_on_the_text_of_the_run(lab: Lab, here: Path) -> None:
    packed = call("pack", lab.run, "--out", here / "model.golf").out
    (line,) = [line for line in packed.splitlines() if line.startswith("next: ")]
    words = line.removeprefix("next: bytegolf ").split()
    assert words[-2:] == ["--data", str(lab.data.resolve())]
    assert call(*words, "--no-baselines").code == 0


def test_score_stands_beside_the_baselines_on_the_same_bytes(answers: dict[str, Answer]) -> None:
    scored = result(answers["score"])
    assert {"xz -9e", "zstd -22", "zstd -22 + dictionary", "ppmd", "brotli -11"} <= scored["baselines"].keys()
    for name, row in scored["baselines"].items():
        assert "skipped" in row or row["bpb"] == pytest.approx(8 * row["bytes"] / scored["bytes"])
        assert name in answers["score"].err


def test_a_smaller_stride_sees_more_context_and_scores_the_same_targets(
    lab: Lab, answers: dict[str, Answer]
) -> None:
    words = ("score", lab.artifact, "--data", lab.data, "--no-baselines", "--no-unpacked", "--json")
    narrow = result(call(*words, "--context", 8, "--stride", 8))
    assert narrow["targets"] == result(answers["score"])["targets"]
    assert narrow["bpb"] != result(answers["score"])["bpb"]
    assert narrow["baselines"] == {}
    assert narrow["unpacked_bpb"] is None


def test_a_run_without_its_weights_is_scored_from_the_file_and_says_so(lab: Lab, here: Path) -> None:
    shutil.copytree(lab.run, here / "run")
    (here / "run" / "weights.safetensors").unlink()
    answer = call("score", "run/model.golf", "--data", lab.data, "--no-baselines", "--json")
    assert answer.code == 0
    assert result(answer)["unpacked_bpb"] is None
    assert "the weights before packing are not scored" in answer.err


def test_generate_prints_prompt_and_text_and_a_seed_draws_the_same_again(
    lab: Lab, answers: dict[str, Answer]
) -> None:
    words = ("generate", lab.artifact, "--prompt", "ab ", "--tokens", 20)
    first = result(answers["generate"])["text"]
    assert first
    assert call(*words).out == f"ab {first}\n"
    assert result(call(*words, "--json", "--seed", 2))["text"] != first
    cold = [call(*words, "--temperature", 0, "--seed", seed).out for seed in (1, 2)]
    assert cold[0] == cold[1]


def test_the_demo_is_made_of_the_public_commands_and_leaves_a_summary(lab: Lab, here: Path) -> None:
    words = ("demo", "--preset", lab.preset, "--data", lab.data, "--seconds", 1, "--out", "runs/small")
    answer = call(*words, "--json")
    assert answer.code == 0
    summary = result(answer)
    assert summary == json.loads((here / "runs" / "small" / "summary.json").read_text())
    keys = {"artifact_bytes", "bpb", "targets", "bytes", "train_seconds", "baselines"}
    assert keys <= summary.keys()
    assert summary["artifact_bytes"] == (here / "runs" / "small" / "model.golf").stat().st_size
    assert summary["train_seconds"] >= 1
    assert all(bpb is None or bpb > 0 for bpb in summary["baselines"].values())
    shown = [line.split()[2] for line in answer.err.splitlines() if line.startswith("$ bytegolf ")]
    assert shown == ["train", "pack", "score", "generate", "report"], "a dataset folder needs no build"
    assert "report: runs/small/report.html" in answer.err.splitlines()[-1]
    assert (here / summary["report"]).read_text().startswith("<!DOCTYPE html>")


def test_a_named_corpus_is_built_once_with_a_word_of_notice(lab: Lab, here: Path) -> None:
    """The build itself is for tests/data: here a dataset stands where the cache would have it."""
    missing = call("data", "build", "stdlib", "--cache", "cache", "--vocab", 2)
    assert missing.code == 2  # too small a vocabulary, and the error costs no more than reading the text
    assert not list((here / "cache").rglob("*.bin"))
    from bytegolf.cli.datasets import named

    place = named("stdlib", VOCAB, here / "cache")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(lab.data, place)
    again = call("data", "build", "stdlib", "--cache", "cache", "--vocab", VOCAB)
    assert again.code == 0
    assert "already built" in again.err
    words = ("train", lab.preset, "--steps", 1, "--cache", "cache", "--out", "run", "--json")
    assert result(call(*words))["data"]["folder"] == str(place)


def test_force_replaces_an_older_run_and_nothing_of_it_stays(lab: Lab, here: Path) -> None:
    shutil.copytree(lab.run, here / "run")
    words = ("train", lab.preset, "--data", lab.data, "--out", "run", "--steps", 1)
    assert call(*words).code == 2
    assert call(*words, "--force").code == 0
    assert not (here / "run" / "model.golf").exists()
    assert json.loads((here / "run" / "run.json").read_text())["steps"] == 1


def test_reading_commands_write_nothing(lab: Lab, here: Path) -> None:
    elsewhere = here / "elsewhere" / "model.golf"
    elsewhere.parent.mkdir()
    shutil.copy(lab.artifact, elsewhere)
    before = listing(lab.root, here)
    assert call("score", elsewhere, "--data", lab.data, "--no-baselines").code == 0
    assert call("generate", elsewhere, "--tokens", 1).code == 0
    assert listing(lab.root, here) == before


def test_a_score_is_kept_beside_its_run_and_a_full_disk_does_not_lose_it(lab: Lab, here: Path) -> None:
    run = here / "run"
    shutil.copytree(lab.run, run, ignore=shutil.ignore_patterns("results"))
    shutil.copy(lab.artifact, run / "model.golf")
    words = ("score", run / "model.golf", "--data", lab.data, "--no-baselines", "--json")
    printed = json.loads(call(*words).out)
    (kept,) = scorings(run)
    assert kept.facts == printed
    assert kept.arrays["document_bytes"].sum() == printed["bytes"]
    shutil.rmtree(run / "results")
    (run / "results").write_text("in the way")
    done = call(*words)
    assert done.code == 0
    assert "not kept in" in done.err


@pytest.mark.parametrize("words", [["pack", "RUN", "--tensors", "--out", "model.golf"], ["--help"]])
def test_a_reader_that_leaves_early_ends_the_command_without_a_complaint(
    lab: Lab, here: Path, words: list[str]
) -> None:
    words = [str(lab.run) if word == "RUN" else word for word in words]
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "bytegolf", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
