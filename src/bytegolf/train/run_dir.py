"""A run directory: everything that one training run read and wrote, enough to pack and score it later.

config.toml  tokenizer.bin  started.json  metrics.jsonl  checkpoints/  weights.safetensors  run.json

The first three are there from the start, the checkpoints until training is complete, the last two at the end.
model.golf and results/ are what was made of it afterwards.
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
from bytegolf.train.tracking import Tracking

CONFIG, METRICS, WEIGHTS, TOKENIZER, STARTED, SUMMARY, CHECKPOINTS, MODEL = (
    "config.toml",
    "metrics.jsonl",
    "weights.safetensors",
    "tokenizer.bin",
    "started.json",
    "run.json",
    "checkpoints",
    "model.golf",
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


@dataclass(frozen=True)
class Started:
    """What a run was started with, beside its config. data: the dataset, as in run.json.

    job: torchrun's id of the job, by which a process that it starts again knows its own run. backend: its name in
    the registry.
    """

    data: dict[str, Any]
    job: str = ""
    backend: str = "torch"


def create_run(
    path: Path, config: Config, tokenizer: bytes, started: Started | None = None, *, force: bool
) -> None:
    """Make the directory with config and tokenizer. With `force` an older run in its place is removed.

    It is made under a temporary name and renamed. Raises RunError when something is in the way or the directory
    cannot be written.
    """
    path = Path(os.path.abspath(path))  # `.` has no name to put a temporary one beside
    with _explained(path):
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if occupied:
        is_run = (path / CONFIG).is_file() and (path / TOKENIZER).is_file()  # others have a config.toml too
        if not force or not is_run:
            raise RunError(
                "the run directory exists already" if is_run else "something that is no run is in the way",
                got=str(path),
                where="--out",
                fix=_way_out(path, is_run),
            )
    temporary = path.with_name(f".bytegolf-{os.getpid()}.tmp")
    try:
        with _explained(path):
            temporary.mkdir(parents=True)
            write_atomically(temporary / CONFIG, dump_toml(config).encode())
            write_atomically(temporary / TOKENIZER, tokenizer)
            if started is not None:
                write_atomically(temporary / STARTED, _json(asdict(started)))
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _way_out(path: Path, is_run: bool) -> str:
    if not is_run:
        return "choose another --out"
    goes_on = "" if (path / SUMMARY).is_file() else f", go on with it by --resume {path}"
    return f"choose another --out{goes_on}, or pass --force to replace it"


def unfinished_run(path: Path) -> tuple[Config, Started]:
    """The config of a run that was stopped before its end, and what it was started with.

    Raises RunError when there is no such run, or it is complete.
    """
    if not os.path.isfile(path / STARTED):
        raise RunError(
            "not the directory of a run that can go on",
            got=str(path),
            where="--resume",
            fix="see the directories under runs/",
        )
    if os.path.isfile(path / SUMMARY) and not open_run(path).summary["interrupted"]:
        raise RunError(
            "the run is complete: there is nothing to resume",
            got=str(path),
            where="--resume",
            fix=f"`bytegolf pack {path}` is next; to train longer, start a run with a larger budget",
        )
    try:
        started = Started(**json.loads((path / STARTED).read_text(encoding="utf-8")))
        return load_config(str(path / CONFIG)), started
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"the run directory is damaged: {error}", where=path) from None


def clear_unfinished(path: Path) -> None:
    """Remove what processes that were killed in the middle of writing a file left in a run directory."""
    for left in path.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def resume_metrics(path: Path, steps: int) -> None:
    """Keep the lines of metrics.jsonl up to a step. What was written later is going to be written again."""
    with _explained(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        kept = [line for line in lines[:steps] if line.endswith(b"\n")]
        write_atomically(path, *kept)


def finish_run(path: Path, weights: Mapping[str, Floats], summary: Mapping[str, Any]) -> None:
    """Write the weights, then run.json: its presence says that the run is whole."""
    from safetensors.numpy import save

    with _explained(path):
        write_atomically(path / WEIGHTS, save(dict(weights)))
        write_atomically(path / SUMMARY, _json(summary))


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()


class MetricsFile:
    """A hook that appends one JSON line per step, the record and `mfu`, and passes it on to the trackers.

    mfu: model FLOPs utilisation (Chowdhery et al. 2022), flops_per_token * tokens / seconds of this step over
    `peak_flops` of all devices; null where nobody states what the device can do.
    """

    def __init__(
        self,
        path: Path,
        *,
        flops_per_token: float = 0.0,
        peak_flops: float | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.path, self.flops_per_token, self.peak_flops = path, flops_per_token, peak_flops
        self.tracking = tracking
        self.before: StepRecord | None = None
        with _explained(path):
            self.file = path.open("a", encoding="utf-8", buffering=1)

    def on_step(self, record: StepRecord) -> None:
        facts = {**asdict(record), "mfu": self._mfu(record)}
        self.before = record
        line = {key: _short(value) for key, value in facts.items()}
        with _explained(self.path):
            self.file.write(json.dumps(line) + "\n")
        if self.tracking is not None:
            self.tracking.on_metrics(line)

    def _mfu(self, record: StepRecord) -> float | None:
        if self.peak_flops is None or self.before is None or record.seconds <= self.before.seconds:
            return None
        speed = (record.tokens - self.before.tokens) / (record.seconds - self.before.seconds)
        return speed * self.flops_per_token / self.peak_flops

    def close(self) -> None:
        if self.tracking is not None:
            self.tracking.close()
        with _explained(self.path):
            self.file.close()


def _short(value: float | None) -> float | None:
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
