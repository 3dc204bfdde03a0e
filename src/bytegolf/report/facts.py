"""What a report is about: a run, and all that was found out about it, read from its directory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bytegolf.artifact.ledger import Ledger, ledger
from bytegolf.config.recipe import config_hash
from bytegolf.config.schema import Score as Settings
from bytegolf.data.dataset import open_dataset
from bytegolf.errors import RunError, UserError
from bytegolf.model_file import ModelFile, open_model
from bytegolf.score.along import VALIDATION
from bytegolf.score.held_out import HeldOut
from bytegolf.train.attempts import Attempt, attempts
from bytegolf.train.results import Scoring, Standing, as_configured, scorings, standing
from bytegolf.train.run_dir import METRICS, MODEL, Run, open_run
from bytegolf.train.run_ledger import read_ledger

Series = NDArray[np.float64]
_STEP_KEYS = ("step", "loss", "tokens", "seconds", "lr_multiplier")
_VALIDATION_KEYS = ("step", "seconds", "tokens", "bpb", "nats_per_token", "targets", "bytes")


@dataclass(frozen=True)
class TensorError:
    """error: |w - w'| / |w| in L2, of the run's weights w and the packed ones w'; 0 for a tensor of zeros."""

    name: str
    role: str
    codec: str
    error: float


@dataclass(frozen=True)
class Facts:
    """steps, validations: columns of metrics.jsonl and validation.jsonl, all of one length.

    file, spent, standing: of the packed model, None when the run has none. scoring: the one by the settings of its
    config, else the first there is; others: the rest, of the same file. weights_gone: why errors are missing.
    text: the held-out text that `scoring` is about (or would be); text_gone: why it is missing.
    """

    run: Run
    name: str
    recipe: str
    steps: Mapping[str, Series]
    validations: Mapping[str, Series]
    file: ModelFile | None
    spent: Ledger | None
    standing: Standing | None
    errors: tuple[TensorError, ...]
    weights_gone: str
    scoring: Scoring | None
    others: tuple[Scoring, ...]
    text: HeldOut | None
    text_gone: str

    @property
    def model(self) -> Path:
        """Where the packed file lies, or would."""
        return self.run.path / MODEL

    @property
    def budget(self) -> int:
        """Bytes that the file may have; 0 for no limit."""
        return (self.file.config if self.file else self.run.config).pack.budget

    @property
    def bytes_per_token(self) -> float | None:
        """Of held-out text, BOS counted as a token; None when none was ever scored."""
        if self.scoring is not None:
            return float(self.scoring.facts["bytes"] / self.scoring.facts["targets"])
        if len(self.validations["step"]):
            return float(self.validations["bytes"][-1] / self.validations["targets"][-1])
        return None

    @property
    def settings(self) -> Settings:
        """How the score was made; before there is one, how the config says."""
        config = (self.file or self.run).config
        if self.scoring is not None:
            return Settings.model_validate(self.scoring.facts["score"])
        return config.resolved_score

    @property
    def document_bpb(self) -> Series:
        """Bits per byte of each document, (D,), inf for one without a byte; none when nothing was kept of them."""
        if self.scoring is None or "document_nats" not in self.scoring.arrays:
            return np.empty(0)
        arrays = self.scoring.arrays
        with np.errstate(divide="ignore"):
            return np.asarray(arrays["document_nats"] / (math.log(2) * arrays["document_bytes"]))


def gather(path: Path, name: str, tell: Callable[[str], None] = lambda line: None) -> Facts:
    """Read a run directory. name: what the page calls it. `tell` gets what is being done.

    Raises RunError when it is not the directory of a finished run, or something in it is damaged.
    """
    run = open_run(path)
    file = open_model(path / MODEL) if (path / MODEL).is_file() else None
    known = [] if file is None else [s for s in scorings(path) if s.facts["artifact_sha256"] == file.sha256]
    known.sort(key=lambda scoring: not as_configured(run.config, scoring))
    tell("comparing weights")
    errors, weights_gone = _errors(run, file)
    tell("reading the held-out text")
    text, text_gone = _text(run, known[0] if known else None)
    return Facts(
        run=run,
        name=name,
        recipe=config_hash(run.config),
        steps=_columns(path / METRICS, _STEP_KEYS),
        validations=_columns(path / VALIDATION, _VALIDATION_KEYS),
        file=file,
        spent=None if file is None else ledger(file.artifact),
        standing=None if file is None else standing(path, file.sha256),
        errors=errors,
        weights_gone=weights_gone,
        scoring=known[0] if known else None,
        others=tuple(known[1:]),
        text=text,
        text_gone=text_gone,
    )


def ledger_of(folder: Path) -> tuple[list[Attempt], str]:
    """Every run that was begun in a folder, and what is wrong with its ledger, if anything is."""
    try:
        return attempts(read_ledger(folder)), ""
    except RunError as error:
        return [], f"{error.rule} ({error.where})"


def _columns(path: Path, keys: Sequence[str]) -> dict[str, Series]:
    """The figures of a file of JSON lines, none where there is no file. Raises RunError for a damaged line."""
    rows: list[list[float]] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            facts = json.loads(line)
            rows.append([float(facts[key]) for key in keys])
        except (ValueError, KeyError, TypeError):
            raise RunError(f"line {number} is damaged", where=path, fix="delete the line") from None
    columns = np.array(rows, np.float64).reshape(len(rows), len(keys))
    return {key: columns[:, i] for i, key in enumerate(keys)}


def _errors(run: Run, file: ModelFile | None) -> tuple[tuple[TensorError, ...], str]:
    if file is None:
        return (), "the run is not packed"
    try:
        before = run.weights()
    except RunError as error:
        return (), error.rule
    if {t.name: t.shape for t in file.artifact.tensors} != {n: w.shape for n, w in before.items()}:
        return (), "the file holds other tensors than the run"
    found = []
    for tensor in file.artifact.tensors:
        weights = before[tensor.name].astype(np.float64)
        size, apart = np.linalg.norm(weights), np.linalg.norm(weights - tensor.weights())
        found.append(
            TensorError(tensor.name, tensor.role, tensor.codec, float(apart / size) if size else 0.0)
        )
    return tuple(found), ""


def _text(run: Run, scoring: Scoring | None) -> tuple[HeldOut | None, str]:
    """The held-out text of the dataset that the run was trained on, if it is still the one that was scored."""
    folder = Path(run.summary["data"]["folder"])
    try:
        text = HeldOut.of(open_dataset(folder))
    except UserError as error:
        return None, f"the dataset cannot be read: {error.rule} ({folder})"
    if scoring is not None and text.sha256 != scoring.facts["text_sha256"]:
        return None, f"the score is about another text than the one in {folder}"
    return text, ""
