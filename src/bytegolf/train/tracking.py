"""Trackers: the lines of metrics.jsonl and validation.jsonl, shown by somebody else's program as well.

metrics.jsonl stays the truth. A tracker is filled from it whenever a run begins or goes on, so that its series has
no gap and no step twice after a kill, and may be asked for in the middle of a run.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bytegolf import registry
from bytegolf.config.load import to_tree
from bytegolf.config.schema import Config
from bytegolf.errors import ConfigError, did_you_mean

METRICS, VALIDATION = "metrics.jsonl", "validation.jsonl"


@dataclass(frozen=True)
class Point:
    """Values after one step, by name: those of a line of metrics.jsonl, or of validation under `validation/`."""

    step: int
    values: dict[str, float]


class Tracker(Protocol):
    """Made with an empty folder of its own, the run's name, and its config as a tree. Any method may raise."""

    def log(self, points: Sequence[Point]) -> None:
        """In the order of their steps; a step may come twice, with other names."""
        ...

    def close(self) -> None: ...


class Tracking:
    """The trackers of one run. One that fails is told in a line and left; the run and the others go on."""

    def __init__(self, names: Sequence[str], announce: Callable[[str], None]) -> None:
        """Raises ConfigError for an unknown name and for a library that is missing; nothing is opened yet."""
        self.announce = announce
        self.makers = {name: _importable(name) for name in names}
        self.open_ones: dict[str, Tracker] = {}

    def open(self, run: Path, config: Config) -> None:
        """Make each tracker's folder in the run directory anew, from the steps that the run has behind it."""
        history = list(_history(run)) if self.makers else []
        for name, make in self.makers.items():
            folder = run / name
            with self._survived(name, "cannot begin"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                self.open_ones[name] = make(folder, run.resolve().name, to_tree(config))
                self.open_ones[name].log(history)

    def on_metrics(self, facts: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""
        self._log(_metrics_point(facts))

    def on_validation(self, facts: Mapping[str, Any]) -> None:
        """A line of validation.jsonl."""
        self._log(_validation_point(facts))

    def _log(self, point: Point) -> None:
        for name, tracker in list(self.open_ones.items()):
            with self._survived(name, f"failed at step {point.step:,}"):
                tracker.log([point])

    def close(self) -> None:
        while self.open_ones:
            name, tracker = self.open_ones.popitem()
            with self._survived(name, "failed at its end"):
                tracker.close()

    @contextmanager
    def _survived(self, name: str, what: str) -> Iterator[None]:
        """Whatever a tracker raises is one line, and the end of that tracker."""
        try:
            yield
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            self.announce(
                f"tracker {name} {what}: {type(error).__name__}: {reason}; the run goes on without it"
            )
            if (tracker := self.open_ones.pop(name, None)) is not None:
                with suppress(Exception):
                    tracker.close()


def _importable(name: str) -> Callable[[Path, str, dict[str, Any]], Tracker]:
    known = registry.names("tracker")
    if name not in known:
        raise ConfigError(f"unknown tracker {name!r}", where="--log", fix=did_you_mean(name, known))
    try:
        importlib.import_module(name)  # each is named after its library
    except ImportError as error:
        raise ConfigError(
            f"the tracker {name} needs the library {name}",
            got=str(error),
            where="--log",
            fix=f'pip install "bytegolf[{name}]", or pip install {name}',
        ) from None
    maker: Callable[[Path, str, dict[str, Any]], Tracker] = registry.lookup("tracker", name)
    return maker


def _history(run: Path) -> Iterator[Point]:
    """What the files of a run hold, by step, validation after the step's own line."""
    points = [_metrics_point(line) for line in _lines(run / METRICS)]
    last = points[-1].step if points else 0
    points += [point for line in _lines(run / VALIDATION) if (point := _validation_point(line)).step <= last]
    yield from sorted(points, key=lambda point: point.step)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _metrics_point(facts: Mapping[str, Any]) -> Point:
    values = {key: float(value) for key, value in facts.items() if key != "step" and value is not None}
    return Point(int(facts["step"]), values)


def _validation_point(facts: Mapping[str, Any]) -> Point:
    kept = ("bpb", "nats_per_token")
    return Point(int(facts["step"]), {f"validation/{key}": float(facts[key]) for key in kept})
