"""A run with everything a report can show, on a text that would like to be a program."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pages import HOSTILE

from cli_samples import PRESET, VOCAB, call, write_source


def done(*words: object) -> None:
    answer = call(*words)
    assert answer.code == 0, answer.err


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/whole: trained with scores on the way, packed, scored, examined, proven; runs/plain: less of it."""
    root = tmp_path_factory.mktemp("report")
    write_source(root / "text", lines=20)
    for path in (root / "text").iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([HOSTILE, *lines[:10], HOSTILE, *lines[10:]]), encoding="utf-8")
    done("data", "build", "--source", root / "text", "--out", root / "data", "--vocab", VOCAB)
    (root / "tiny.toml").write_text(PRESET)
    run, data = root / "runs" / "whole", ("--data", root / "data")
    along = "train.validation={every=10, tokens=400}"
    done("train", root / "tiny.toml", *data, "--out", run, "-o", along)
    done("pack", run)
    done("score", run / "model.golf", *data)
    done("score", run / "model.golf", *data, "--stride", 32, "--no-baselines")
    done("verify", run / "model.golf", *data, "--sample", 200)
    done("prove", run / "model.golf", *data)
    plain = root / "runs" / "plain"
    done("train", root / "tiny.toml", *data, "--out", plain, "--seed", 7, "-o", "model.mlp.hidden=24")
    done("pack", plain, "-o", "pack.codecs.matrix=int5")
    done("score", plain / "model.golf", *data, "--no-baselines")
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole run, with its ledger, to take things away from."""
    shutil.copytree(whole.parent, tmp_path / "runs")
    return tmp_path / "runs" / "whole"
