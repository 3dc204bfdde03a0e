"""Inputs that are odd rather than wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bytegolf.artifact import format as golf
from cli_samples import Lab, call, listing


def test_a_prompt_may_hold_any_bytes(lab: Lab, here: Path) -> None:
    prompt = b"ab \xff".decode("utf-8", "surrogateescape")  # as the shell hands it over
    assert call("generate", lab.artifact, "--prompt", prompt, "--tokens", 3).code == 0


def test_a_seed_beyond_64_bits_is_refused(lab: Lab, here: Path) -> None:
    answer = call("train", lab.preset, "--data", lab.data, "--out", "run", "--seed", 1 << 64)
    assert answer.code == 2
    assert "train.seed" in answer.err
    assert listing(here) == {}


def test_one_codec_set_for_a_training_leaves_the_others_as_they_are(lab: Lab, here: Path) -> None:
    lines = lab.preset.read_text().splitlines()
    (here / "mine.toml").write_text("\n".join(line for line in lines if not line.startswith("codecs")))
    words = ("mine.toml", "--data", lab.data, "--out", "run", "--steps", 1, "-o", "pack.codecs.matrix=int5")
    assert call("train", *words).code == 0
    assert call("pack", "run").code == 0


def test_force_keeps_a_folder_that_merely_has_a_config_toml(lab: Lab, here: Path) -> None:
    (here / "site").mkdir()
    (here / "site" / "config.toml").write_text("title = 'my site'")
    before = listing(here)
    answer = call("train", lab.preset, "--data", lab.data, "--out", "site", "--force")
    assert (answer.code, listing(here)) == (2, before)
    assert "no run is in the way" in answer.err


@pytest.mark.parametrize("content", ["{}", "[]", "3"])
def test_pack_refuses_a_summary_that_is_none(lab: Lab, here: Path, content: str) -> None:
    shutil.copytree(lab.run, here / "run")
    (here / "run" / "run.json").write_text(content)
    assert call("pack", "run").code == 2


def test_a_config_that_claims_a_huge_model_is_refused_before_it_is_built(lab: Lab, here: Path) -> None:
    artifact = golf.read(lab.artifact)
    config = json.loads(json.dumps(artifact.config))
    config["model"].update(dim=65_536, layers=1000)  # 10^13 weights
    golf.write(here / "x.golf", replace(artifact, config=config))
    answer = call("generate", "x.golf")
    assert answer.code == 2
    assert "tensors inside are not those of the model" in answer.err


def test_a_dataset_is_built_again_in_the_current_folder(
    lab: Lab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lab.data, here / "data")
    monkeypatch.chdir(here / "data")
    words = ("data", "build", "--source", lab.source, "--vocab", 300, "--out", ".", "--force")
    assert call(*words).code == 0
    assert (here / "data" / "manifest.json").is_file()


def test_the_advice_for_a_folder_of_text_can_be_followed(lab: Lab, here: Path) -> None:
    answer = call("train", lab.preset, "--data", lab.source)
    assert f"bytegolf data build --source {lab.source} --out" in answer.err


def test_a_binary_config_file_is_named(lab: Lab, here: Path) -> None:
    (here / "mine.toml").write_bytes(b"\xff")
    assert "mine.toml" in call("train", "mine.toml").err
