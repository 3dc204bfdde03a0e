"""The runs behind a record: one result a seed, of one config, on one text, each from the packed file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytegolf.artifact.ledger import Ledger, ledger
from bytegolf.config.recipe import differences
from bytegolf.errors import ConfigError, RunError
from bytegolf.model_file import open_model
from bytegolf.train.results import Scoring, Standing, as_configured, scorings, standing
from bytegolf.train.run_dir import MODEL, Run, open_run


@dataclass(frozen=True)
class SeedResult:
    """A run that was trained, packed and scored. spent: the bytes of its file; scored: what `score` said of it."""

    run: Run
    spent: Ledger
    artifact_sha256: str
    scored: dict[str, Any]
    standing: Standing

    @property
    def seed(self) -> int:
        return self.run.config.train.seed

    @property
    def state(self) -> str:
        """The strongest that is known of the score: "proven", "examined", or "scored"."""
        return self.standing.state(self.scored)

    @property
    def bpb(self) -> float:
        return float(self.scored["bpb"])

    @property
    def nats_per_token(self) -> float:
        """The challenge's val_loss."""
        return float(self.scored["nats_per_token"])

    @property
    def unpacked_bpb(self) -> float | None:
        value = self.scored["unpacked_bpb"]
        return None if value is None else float(value)

    @property
    def unpacked_nats_per_token(self) -> float | None:
        """bpb * ln 2 * bytes / targets, of the same text."""
        if self.unpacked_bpb is None:
            return None
        return self.unpacked_bpb * math.log(2) * float(self.scored["bytes"]) / float(self.scored["targets"])


def gather(paths: Sequence[Path], text: str | None = None) -> list[SeedResult]:
    """The results of runs that belong together, by seed.

    text: how the sha256 of the scored text begins, where runs were scored on several. Raises RunError for a run
    that is not finished, packed and scored as its config says, and for a seed that comes twice; ConfigError for
    runs of different configs.
    """
    results = sorted((_result(path, text) for path in paths), key=lambda result: result.seed)
    first = results[0]
    for other in results[1:]:
        _check_same_recipe(first.run, other.run)
        for what in ("train_sha256", "val_sha256", "tokenizer_sha256"):
            if first.run.summary["data"][what] != other.run.summary["data"][what]:
                raise RunError(
                    "the runs of a record are trained on the same data",
                    got=f"{first.run.path} and {other.run.path} with different {what}",
                )
        if first.scored["text_sha256"] != other.scored["text_sha256"]:
            raise RunError(
                "the runs of a record are scored on the same text",
                got=f"{first.run.path} and {other.run.path} on different ones",
                fix="score the runs on one text; --text SHA chooses among several",
            )
    twice = [seed for seed, count in Counter(result.seed for result in results).items() if count > 1]
    if twice:
        raise RunError("a seed counts once", got=f"seed {twice[0]} twice", fix="leave one of the runs out")
    return results


def _result(path: Path, text: str | None) -> SeedResult:
    run = open_run(path)
    if run.summary["interrupted"]:
        raise RunError(
            "a record is made of runs that were trained to their end",
            got=f"{path}, interrupted after {run.summary['steps']:,} steps",
            fix=f"bytegolf train --resume {path}",
        )
    artifact = path / MODEL
    if not artifact.is_file():
        raise RunError("the run is not packed", got=str(path), fix=f"bytegolf pack {path}")
    file = open_model(artifact)
    scoring = _scoring(run, file.sha256, text)
    return SeedResult(run, ledger(file.artifact), file.sha256, scoring.facts, standing(path, file.sha256))


def _scoring(run: Run, digest: str, text: str | None) -> Scoring:
    """The one scoring of this file by the settings of its config."""
    found = [
        scoring
        for scoring in scorings(run.path)
        if scoring.facts["artifact_sha256"] == digest
        and as_configured(run.config, scoring)
        and scoring.facts["text_sha256"].startswith(text or "")
    ]
    if not found:
        raise RunError(
            "the packed file has no score by the settings of its config",
            got=str(run.path) if text is None else f"{run.path}, text {text}",
            fix=f"bytegolf score {run.path / MODEL} --data {run.summary['data']['folder']}",
        )
    if len(found) > 1:
        texts = ", ".join(scoring.facts["text_sha256"][:12] for scoring in found)
        raise RunError(
            "a record is about one text",
            got=f"{run.path}, scored on the texts {texts}",
            fix="choose one of them by --text SHA",
        )
    return found[0]


def _check_same_recipe(one: Run, other: Run) -> None:
    if apart := list(differences(one.config, other.config)):
        raise ConfigError(
            "the runs of a record have one config and differ in the seed",
            got=f"{one.path} and {other.path} with different {', '.join(apart[:5])}",
            fix="make a record of each config; `bytegolf compare` tells them apart",
        )
