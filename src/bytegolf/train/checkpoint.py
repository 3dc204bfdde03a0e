"""Checkpoints: all that a killed run needs to go on as if nothing had happened.

A file is one line of text with a sha256, and the safetensors file that it is the digest of: the arrays of
`Trainer.state` and, as metadata, what the loop had done. Nothing of it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bytegolf.errors import RunError
from bytegolf.files import write_atomically
from bytegolf.model.backend import Trainer
from bytegolf.train.loop import Done, StepRecord

MAGIC = b"bytegolf checkpoint 1 "
_NAME = re.compile(r"step-(\d+)\.ckpt")
_DIGITS = 64

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """State between two steps. precision: the one that training has; a probe might find another the next time.

    aside: seconds outside training so far, by name.
    """

    done: Done
    precision: str
    aside: dict[str, float]
    arrays: Arrays

    def to_bytes(self) -> list[bytes]:
        """The parts of the file."""
        from safetensors.numpy import save

        facts = {"done": asdict(self.done), "precision": self.precision, "aside": self.aside}
        body = save(self.arrays, metadata={"bytegolf": json.dumps(facts)})
        return [MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n", body]

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """The inverse of `to_bytes`. Raises RunError unless every byte is there and as it was written."""
        from safetensors.numpy import load

        start = len(MAGIC) + _DIGITS + 1
        if not data.startswith(MAGIC) or len(data) < start:
            raise RunError("a checkpoint starts with its name and its sha256")
        body = data[start:]
        if data[len(MAGIC) : start] != hashlib.sha256(body).hexdigest().encode() + b"\n":
            raise RunError("a checkpoint must have its sha256: this file is damaged or cut short")
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        facts = json.loads(header["__metadata__"]["bytegolf"])
        return cls(Done(**facts["done"]), facts["precision"], facts["aside"], load(body))


class Checkpoints:
    """The checkpoints of one run: a folder with the newest `keep`, named by their steps."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def write(self, checkpoint: Checkpoint) -> Path:
        """Under a temporary name first; then older ones than the newest `keep` go. Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"step-{checkpoint.done.steps:08d}.ckpt"
        write_atomically(path, *checkpoint.to_bytes())
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def paths(self) -> list[Path]:
        """The newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)

    def newest(self, announce: Callable[[str], None]) -> Checkpoint | None:
        """The newest one that is whole; None when there is none. Says which ones it passes over, and why."""
        for path in self.paths():
            try:
                return Checkpoint.from_bytes(path.read_bytes())
            except (OSError, RunError) as error:
                announce(f"{path} cannot be used: {error}; trying the one before")
        return None

    def clear(self) -> None:
        """Remove them all, and what a killed process left of one."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.suffix in (".ckpt", ".tmp"):
                    path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def clear_leftovers(self) -> None:
        """Remove what a killed process left of a checkpoint that it was writing."""
        if self.folder.is_dir():
            for path in self.folder.glob(".step-*.tmp"):
                path.unlink(missing_ok=True)


class KeepCheckpoints:
    """A pause of the loop that writes a checkpoint every `every` seconds of training (0: never).

    A disk that refuses costs the checkpoint, not the run: it is said in a line, and the last good ones stay.
    last: seconds of training at the last one, the same on all ranks, or they would not stop together. writes:
    whether this rank does; all of them collect the state.
    """

    name = "checkpoints"

    def __init__(
        self,
        checkpoints: Checkpoints,
        trainer: Trainer,
        precision: str,
        every: float,
        last: float,
        writes: bool,
        announce: Callable[[str], None],
    ) -> None:
        self.checkpoints, self.trainer, self.precision = checkpoints, trainer, precision
        self.every, self.last, self.writes, self.announce = every, last, writes, announce

    def due(self, record: StepRecord) -> bool:
        return self.every > 0 and record.seconds - self.last >= self.every

    def on_pause(self, done: Done, aside: Mapping[str, float]) -> None:
        self.last = done.seconds
        arrays = self.trainer.state()
        if not self.writes:
            return
        try:
            self.checkpoints.write(Checkpoint(done, self.precision, dict(aside), arrays))
        except OSError as error:
            kept = [int(path.stem.removeprefix("step-")) for path in self.checkpoints.paths()]
            held = f"the last good one is of step {kept[0]:,}" if kept else "there is none yet"
            self.announce(
                f"cannot write the checkpoint of step {done.steps:,}: {error.strerror or error}; {held};"
                " training goes on"
            )
