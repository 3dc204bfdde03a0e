"""Trackio: its SQLite file in the run directory. `TRACKIO_DIR=RUN/trackio trackio show --project bytegolf`.

trackio.init would start threads and write to the folder of the user's cache. What it stores by is used here
directly: `SQLiteStorage`, told another folder. That is no promised interface, so the tests read the file back.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from trackio.sqlite_storage import SQLiteStorage

from bytegolf.train.tracking import Point

PROJECT = "bytegolf"
FOLDER = "TRACKIO_DIR"  # a constant of trackio's modules, each of which has a copy
FLUSH_SECONDS = (
    2.0  # how far behind the run a reader may be; a transaction for each step would cost more than it
)
_BATCH = 1000


class Trackio:
    """A row a point; the config beside the first."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        self.folder, self.name = folder.resolve(), name
        self.config: dict[str, Any] | None = config
        self.waiting: list[Point] = []
        self.written = 0.0

    def log(self, points: Sequence[Point]) -> None:
        self.waiting += points
        if time.monotonic() - self.written >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        for start in range(0, len(self.waiting), _BATCH):
            batch = self.waiting[start : start + _BATCH]
            _keep_in(self.folder)
            SQLiteStorage.bulk_log(
                project=PROJECT,
                run=self.name,
                metrics_list=[dict(point.values) for point in batch],
                steps=[point.step for point in batch],
                config=self.config,
            )
            self.config = None
        self.waiting, self.written = [], time.monotonic()

    def close(self) -> None:
        """One file at the end: what SQLite keeps beside it is taken in."""
        self.flush()
        _keep_in(self.folder)
        path = SQLiteStorage.get_project_db_path(PROJECT)
        if path.is_file():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _keep_in(folder: Path) -> None:
    """Each time anew: another run of this process may have come between."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "trackio" and hasattr(module, FOLDER):
            setattr(module, FOLDER, folder)
