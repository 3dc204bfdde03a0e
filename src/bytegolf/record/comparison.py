"""Two arms, each the seeds of one recipe: what may be concluded from their scores on one text."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.recipe import config_hash, differences
from bytegolf.config.schema import Config
from bytegolf.errors import ConfigError, RunError
from bytegolf.record.evidence import SeedResult, gather
from bytegolf.record.published import Published, named, of_folder
from bytegolf.record.statistics import (
    Paired,
    Test,
    detectable,
    paired_bootstrap,
    pooled,
    runs_needed,
    unexplained,
    welch,
)
from bytegolf.record.submission import JSON
from bytegolf.train.attempts import attempts
from bytegolf.train.results import scorings
from bytegolf.train.run_ledger import read_ledger


@dataclass(frozen=True)
class Arm:
    """One side. scores: seed -> bits per byte. text: the sha256 of what was scored, or of published results its
    name. bytes_per_token: of that text, by the tokenizer of this arm; None where nobody says. recipe: the same for
    two arms of one config, "" where it is not known. documents: nats of each document, mean over the runs, and its
    bytes. others: runs of the same config in the ledger that are not in the arm, as "name (seed, score)". remarks:
    what a reader has to know. track: of the challenge, for published results. not_valid: why its scores count for
    nothing.
    """

    name: str
    scores: dict[int, float]
    text: str
    text_bytes: int | None
    bytes_per_token: float | None
    recipe: str = ""
    config: Config | None = None
    documents: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None
    others: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    track: str = ""
    not_valid: str | None = None

    @property
    def values(self) -> list[float]:
        return list(self.scores.values())

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.values) if len(self.scores) > 1 else None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "scores": {str(seed): score for seed, score in self.scores.items()},
            "mean": self.mean,
            "sd": self.sd,
            "text": self.text,
            "text_bytes": self.text_bytes,
            "bytes_per_token": self.bytes_per_token,
            "others": list(self.others),
            "remarks": list(self.remarks),
            "not_valid": self.not_valid,
        }


def arm(words: str, text: str | None = None) -> Arm:
    """A published result by its name, the folder of a record, or run directories with commas between. Raises
    UserError for anything else.
    """
    if (result := named(words)) is not None:
        return _of_published(result)
    path = Path(words)
    if (path / JSON).is_file():
        return _of_record(path)
    results = gather([Path(word) for word in words.split(",") if word], text)
    first = results[0].scored
    return Arm(
        words,
        {result.seed: result.bpb for result in results},
        first["text_sha256"],
        first["bytes"],
        first["bytes"] / first["targets"],
        config_hash(results[0].run.config),
        results[0].run.config,
        _documents(results),
        tuple(_others(results)),
    )


def _of_published(result: Published) -> Arm:
    return Arm(
        result.name,
        result.scores,
        result.text,
        None,
        result.bytes_per_token,
        result.recipe,
        remarks=result.remarks,
        track=result.track,
        not_valid=result.not_valid,
    )


def _of_record(path: Path) -> Arm:
    try:
        facts = json.loads((path / JSON).read_text(encoding="utf-8"))
        if "bytegolf" not in facts:
            return _of_published(of_folder(path))
        about = facts["bytegolf"]
        scores = {int(seed): float(result["val_bpb"]) for seed, result in facts["seed_results"].items()}
        n_bytes, targets = int(about["text_bytes"]), int(about["targets"])
        known = (str(about["text_sha256"]), n_bytes, n_bytes / targets, str(about["config_hash"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError("not the record of bytegolf", got=repr(error), where=path / JSON) from None
    if not scores:
        raise RunError("a record has the results of its seeds", where=path / JSON)
    others = tuple(f"{name}: {why}" for name, why in about.get("left_out", {}).items())
    return Arm(str(path), scores, *known, others=others)


def _documents(results: Sequence[SeedResult]) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Mean nats and bytes by document, where every run kept them."""
    found = []
    for result in results:
        same = ("artifact_sha256", "text_sha256", "score")
        found += [
            kept.arrays
            for kept in scorings(result.run.path)
            if all(kept.facts[key] == result.scored[key] for key in same) and kept.arrays
        ]
    if len(found) != len(results):
        return None
    nats = np.mean([arrays["document_nats"] for arrays in found], axis=0)
    return nats, found[0]["document_bytes"]


def _others(results: Sequence[SeedResult]) -> list[str]:
    wanted = config_hash(results[0].run.config)
    inside = {result.run.path.resolve() for result in results}
    found = []
    for folder in sorted({path.parent for path in inside}):
        for attempt in attempts(read_ledger(folder)):
            if attempt.recipe == wanted and (attempt.replaced or folder / attempt.run not in inside):
                score = attempt.newest()
                found.append(
                    f"{attempt.run} (seed {attempt.seed}, "
                    + (f"{score['bpb']:.5f})" if score else f"{attempt.outcome}, no score)")
                )
    return found


def margin_bpb(words: str, side: Arm) -> float:
    """`0.005nats` (per token, as the challenge's rule counts) or `0.003bpb`, in bits per byte of the text:
    nats / (ln 2 * bytes per token), by the tokenizer of the arm. Raises ConfigError.
    """
    found = re.fullmatch(r"(\d*\.?\d+)\s*(nats|bpb)", words.strip())
    if found is None:
        raise ConfigError(
            "a margin is a number and its unit, nats (per token) or bpb",
            got=repr(words),
            where="--margin",
            fix="for example --margin 0.005nats",
        )
    value = float(found[1])
    if found[2] == "bpb":
        return value
    if side.bytes_per_token is None:
        raise ConfigError(
            "a margin per token needs to know how many bytes a token has",
            got=f"{words} for {side.name}, which does not say it",
            where="--margin",
            fix="give it in bits per byte, for example --margin 0.002bpb",
        )
    return value / (math.log(2) * side.bytes_per_token)


def cautions(a: Arm, b: Arm, margin: str) -> list[str]:
    """What stands against the figures, or makes the arms less alike than two recipes on one machine."""
    invalid = [(name, side.not_valid) for name, side in (("A", a), ("B", b)) if side.not_valid]
    found = [f"{name} is NOT VALID, and nothing is shown about it: {why}." for name, why in invalid]
    if margin.strip().endswith("nats") and None not in (a.bytes_per_token, b.bytes_per_token):
        of_a, of_b = margin_bpb(margin, a), margin_bpb(margin, b)
        if abs(of_a / of_b - 1) > 1e-3:
            found.append(
                f"The arms have different tokenizers: {margin} a token are {of_a:.5f} bpb with the one of A and "
                f"{of_b:.5f} bpb with the one of B; that of B counts here."
            )
    if a.track and b.track and a.track != b.track:
        found.append(f"The arms are of different tracks, {a.track} and {b.track}: other limits on computing.")
    if a.track or b.track:
        found.append("Published figures are their authors' and were not reproduced here.")
    return found


@dataclass(frozen=True)
class Comparison:
    """What was found. The gain is that of B over A. tests: by name, None where an arm has too few runs."""

    a: Arm
    b: Arm
    margin: float
    welch: Test | None
    welch_margin: Test | None
    pooled: Test
    pooled_margin: Test
    sd: float
    paired: Paired | None
    changed: dict[str, tuple[Any, Any]] | None
    needed: int | None
    detectable: float
    doubt: float

    @property
    def signs(self) -> dict[int, bool]:
        """Of the seeds that both arms have: is B lower?"""
        common = [seed for seed in self.a.scores if seed in self.b.scores]
        return {seed: self.b.scores[seed] < self.a.scores[seed] for seed in common}

    def to_json(self) -> dict[str, Any]:
        tests = ("welch", "welch_margin", "pooled", "pooled_margin")
        return {
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "gain": self.pooled.gain,
            "margin_bpb": self.margin,
            **{name: None if (t := getattr(self, name)) is None else t.to_json() for name in tests},
            "sd": self.sd,
            "paired": None if self.paired is None else vars(self.paired),
            "config_differences": self.changed,
            "signs": {str(seed): lower for seed, lower in self.signs.items()},
            "runs_needed": self.needed,
            "detectable": self.detectable,
            "prior_p": self.doubt,
        }


def compare(
    a: Arm,
    b: Arm,
    margin: float,
    prior: tuple[float, float],
    alpha: float = 0.01,
    power: float = 0.9,
) -> Comparison:
    """prior: standard deviation and degrees of freedom of earlier experience; left out where the runs spread so
    much that an F-test of level alpha says it is about something else. Raises RunError for two texts.
    """
    if a.text != b.text:
        own = not (a.track and b.track)
        raise RunError(
            "scores on different texts cannot be compared",
            got=f"{shown_text(a)} of {a.name}, {shown_text(b)} of {b.name}",
            fix="score both on one text; --text SHA chooses among several" if own else None,
        )
    doubt = unexplained(a.values, b.values, *prior)
    prior = prior if doubt >= alpha else (1.0, 0.0)  # 0 degrees of freedom: no experience
    found = pooled(a.values, b.values, 0.0, *prior)
    sd = found.se / math.sqrt(1 / len(a.values) + 1 / len(b.values))
    paired = None
    if a.documents is not None and b.documents is not None:
        (nats_a, n_bytes), (nats_b, same) = a.documents, b.documents
        paired = paired_bootstrap(nats_a, nats_b, n_bytes) if np.array_equal(n_bytes, same) else None
    return Comparison(
        a,
        b,
        margin,
        welch(a.values, b.values),
        welch(a.values, b.values, margin),
        found,
        pooled(a.values, b.values, margin, *prior),
        sd,
        paired,
        _changed(a, b),
        runs_needed(found.gain - margin, sd, alpha, power),
        detectable(len(a.values), len(b.values), sd, alpha, power),
        doubt,
    )


def shown_text(side: Arm) -> str:
    """The beginning of a sha256, or a name."""
    digest = re.fullmatch("[0-9a-f]{64}", side.text)
    return f"text {side.text[:16]}" if digest else side.text


def _changed(a: Arm, b: Arm) -> dict[str, tuple[Any, Any]] | None:
    """What differs between the configs; nothing for one recipe; None where nobody knows."""
    if a.config is not None and b.config is not None:
        return differences(a.config, b.config)
    return {} if a.recipe and a.recipe == b.recipe else None


def conclusions(found: Comparison, alpha: float, power: float) -> list[str]:
    """What may be said, in sentences."""
    gain, any_gain, above = found.pooled.gain, found.pooled.p, found.pooled_margin.p
    said: list[str] = []
    if found.changed == {}:
        said.append("Both arms have the same config: this compares a recipe with itself, any gain is chance.")
    if found.doubt < alpha:
        said.append(
            f"The seeds spread more than --prior-sd explains (p = {found.doubt:.1g}), so it is left out: the "
            "pooled tests go by these runs alone."
        )
    if gain <= 0:
        said += [f"B is not better: its mean is {-gain:.5f} bpb higher than that of A."]
    else:
        verdict = "is shown" if any_gain < alpha else "is not shown"
        said.append(
            f"B is {gain:.5f} bpb lower. That it is better at all {verdict} at p < {alpha:g} (p = {any_gain:.2g})."
        )
    if found.margin and gain > 0:
        verdict = "is shown" if above < alpha else "is not shown"
        said.append(f"That the gain is above {found.margin:.5f} bpb {verdict} (p = {above:.2g}).")
    if gain > 0 and above >= alpha:
        if found.needed is None:
            said.append(
                "The gain is not above the margin, so no number of runs is expected to show that it is."
            )
        else:
            more = max(1, found.needed - min(len(found.a.scores), len(found.b.scores)))
            said.append(
                f"If the gain is what it seems, about {more} more {'runs' if more > 1 else 'run'} an arm "
                f"show it with probability {power:g}."
            )
    if found.paired is not None:
        low, high = found.paired.interval
        sides = "excludes 0" if low > 0 or high < 0 else "includes 0"
        said.append(
            f"On this text, document by document, the models differ by {found.paired.gain:.5f} bpb; the 95 % "
            f"interval {low:.5f} to {high:.5f} {sides}. That is about these models, not about their recipes."
        )
    return said
