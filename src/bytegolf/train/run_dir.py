"""A run directory: everything that one training run read and wrote, enough to pack and score it later.

config.toml  metrics.jsonl  weights.safetensors  tokenizer.bin  run.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bytegolf.config.load import dump_toml, load_config
from bytegolf.config.schema import Config
from bytegolf.errors import RunError
from bytegolf.files import write_atomically
from bytegolf.model.backend import Floats
from bytegolf.train.loop import StepRecord

CONFIG, METRICS, WEIGHTS, TOKENIZER, SUMMARY = (
    "config.toml",
    "metrics.jsonl",
    "weights.safetensors",
    "tokenizer.bin",
    "run.json",
)


@dataclass(frozen=True)
class Run:
    """A finished run, read back. summary is run.json."""

    path: Path
    config: Config
    tokenizer: bytes
    summary: dict[str, Any]

    def weights(self) -> dict[str, Floats]:
        """Float32 arrays by manifest name. Raises RunError when the file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(self.path / WEIGHTS))
        except (OSError, SafetensorError) as error:
            raise RunError(f"cannot read the weights: {error}", where=self.path / WEIGHTS) from None


def open_run(path: Path) -> Run:
    """Raises RunError when `path` is not the directory of a finished run."""
    if not os.path.isfile(path / SUMMARY):  # Path.is_file raises for a name that is too long
        raise RunError(
            "not the directory of a finished run",
            got=str(path),
            fix="train one with `bytegolf train pocket`; see the directories under runs/",
        )
    try:
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        tokenizer = (path / TOKENIZER).read_bytes()
    except (OSError, ValueError) as error:
        raise RunError(f"the run directory is damaged: {error}", where=path) from None
    if not isinstance(summary, dict):
        raise RunError("the run directory is damaged: run.json holds no object", where=path)
    return Run(path, load_config(str(path / CONFIG)), tokenizer, summary)


def create_run(path: Path, config: Config, tokenizer: bytes, *, force: bool) -> None:
    """Make the directory with config and tokenizer. With `force` an older run in its place is removed.

    Raises RunError when something is in the way or the directory cannot be written.
    """
    with _explained(path):
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if occupied:
        is_run = (path / CONFIG).is_file() and (path / TOKENIZER).is_file()  # others have a config.toml too
        if not force or not is_run:
            raise RunError(
                "the run directory exists already" if is_run else "something that is no run is in the way",
                got=str(path),
                where="--out",
                fix="choose another --out" + (", or pass --force to replace it" if is_run else ""),
            )
    with _explained(path):
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
    try:
        with _explained(path):
            write_atomically(path / CONFIG, dump_toml(config).encode())
            write_atomically(path / TOKENIZER, tokenizer)
    except RunError:
        shutil.rmtree(path, ignore_errors=True)
        raise


def finish_run(path: Path, weights: Mapping[str, Floats], summary: Mapping[str, Any]) -> None:
    """Write the weights, then run.json: its presence says that the run is whole."""
    from safetensors.numpy import save

    with _explained(path):
        write_atomically(path / WEIGHTS, save(dict(weights)))
        write_atomically(path / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())


class MetricsFile:
    """A hook that appends one JSON line per step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path):
            self.file = path.open("w", encoding="utf-8", buffering=1)

    def on_step(self, record: StepRecord) -> None:
        with _explained(self.path):
            self.file.write(json.dumps({k: _short(v) for k, v in asdict(record).items()}) + "\n")

    def close(self) -> None:
        with _explained(self.path):
            self.file.close()


def _short(value: float) -> float:
    return round(value, 6) if isinstance(value, float) else value


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError (full disk, read-only directory) into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write the run: {error.strerror or error}",
            where=path,
            fix="free some space or choose another place with --out",
        ) from None
