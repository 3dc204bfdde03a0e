"""Weights & Biases, offline: nothing leaves the machine until `wandb sync RUN/wandb/wandb/offline-run-*`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from bytegolf.train.tracking import Point

PROJECT = "bytegolf"


class Wandb:
    """An offline run. Its id follows from the run directory, so that a run that goes on is the same run there."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        self.run = wandb.init(
            project=PROJECT,
            name=name,
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12],
            dir=folder,
            config=config,
            resume="allow",
            settings=wandb.Settings(
                mode="offline",
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            self.run.log(dict(point.values), step=point.step)

    def close(self) -> None:
        self.run.finish()
