"""Runs that the tests of records share."""

from __future__ import annotations

from pathlib import Path

import pytest
from shop_samples import CREDITS, SEEDS, done

from cli_samples import PRESET, VOCAB, write_source


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, tiny.toml, and runs/seed-N of three seeds, packed and scored, with their ledger."""
    root = tmp_path_factory.mktemp("shop")
    write_source(root / "text")
    done("data", "build", "--source", root / "text", "--out", root / "data", "--vocab", VOCAB)
    (root / "tiny.toml").write_text(PRESET)
    for seed in SEEDS:
        run = root / "runs" / f"seed-{seed}"
        done("train", root / "tiny.toml", "--data", root / "data", "--out", run, "--seed", seed)
        done("pack", run)
        done("score", run / "model.golf", "--data", root / "data", "--no-baselines")
    return root


@pytest.fixture(scope="session")
def record(shop: Path) -> Path:
    runs = [shop / "runs" / f"seed-{seed}" for seed in SEEDS]
    done("record", *runs, *CREDITS, "--out", shop / "records")
    return shop / "records" / "track_non_record_16mb" / "2026-11-23_Tiny_three_seeds"
