"""What was found out about a run after its training: kept in the run's own directory, one file a finding.

results/score-ID.json   what `bytegolf score --json` says, for one packed file, one text, one way to score
results/score-ID.npz    where its bits went: the arrays of score.breakdown.Breakdown, by their names
results/verify.json     what the referee found with all of its checks, newest
results/proof.json      the proof by decoding, newest
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Config
from bytegolf.errors import RunError
from bytegolf.files import write_atomically
from bytegolf.train.run_dir import SUMMARY

RESULTS = "results"
_SAME_COST = 1e-3  # relative: two backends agree far better, other tokens of the same text do not
_SAME = ("artifact_sha256", "text_sha256", "score")  # what makes two scorings the same one


@dataclass(frozen=True)
class Scoring:
    """facts: artifact_bytes, artifact_sha256, bpb, nats_per_token, targets, bytes, documents, settings under
    `score`, seconds, text_sha256, unpacked_bpb, baselines. arrays: of the breakdown; empty where there is none.
    """

    path: Path
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Standing:
    """What was found out about one packed file beside its score. proof: results/proof.json, verdict:
    results/verify.json; None where they are of another file or were never made.
    """

    proof: dict[str, Any] | None
    verdict: dict[str, Any] | None

    def state(self, scored: Mapping[str, Any]) -> str:
        """The strongest that is known of a score of the file: "proven", "examined", or "scored".

        scored: what `score` said. A verdict is about the score by the same settings.
        """
        if self.proof is not None and self.proof["proven"] and _is_about(self.proof, scored):
            return "proven"
        verdict = self.verdict or {}
        passed = verdict.get("verdict") == "pass" and verdict.get("score") == scored["score"]
        return "examined" if passed else "scored"


def _is_about(proof: Mapping[str, Any], scored: Mapping[str, Any]) -> bool:
    """Whether what was coded is what was scored: the same text, read in the same way, at the same cost in float.

    The costs differ where the text was split into other tokens than the coder's. The coder goes without test-time
    training, so a score with it is never what was coded.
    """
    way = scored["score"]
    same_text = proof["text"]["sha256"] == scored["text_sha256"]
    same_way = proof["score"] == way and way["adaptation"]["kind"] == "none"
    return same_text and same_way and math.isclose(proof["bpb"]["float"], scored["bpb"], rel_tol=_SAME_COST)


def standing(run: Path, artifact_sha256: str) -> Standing:
    """Of the file with this digest. Raises RunError for a damaged result."""
    proof, verdict = kept(run, "proof"), kept(run, "verify")
    return Standing(
        proof if proof and proof["model"]["sha256"] == artifact_sha256 else None,
        verdict if verdict and verdict["artifact_sha256"] == artifact_sha256 else None,
    )


def as_configured(config: Config, scoring: Scoring) -> bool:
    """Whether a file was scored in the way its config says."""
    return bool(scoring.facts["score"] == config.resolved_score.model_dump(mode="json"))


def run_of(artifact: Path) -> Path | None:
    """The directory of the finished run that a packed file lies in."""
    return artifact.parent if (artifact.parent / SUMMARY).is_file() else None


def keep_scoring(run: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write one scoring; an earlier one of the same file, text and settings is replaced."""
    same = json.dumps([facts[key] for key in _SAME], sort_keys=True)
    path = run / RESULTS / f"score-{hashlib.sha256(same.encode()).hexdigest()[:12]}.json"
    path.parent.mkdir(exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    write_atomically(path.with_suffix(".npz"), packed.getvalue())
    write_atomically(path, _json(facts))
    return path


def scorings(run: Path) -> list[Scoring]:
    """All that were kept, in the order of their files' names. Raises RunError for a damaged one."""
    return [_scoring(path) for path in sorted((run / RESULTS).glob("score-*.json"))]


def _scoring(path: Path) -> Scoring:
    arrays = path.with_suffix(".npz")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        with np.load(arrays, allow_pickle=False) as stored:
            return Scoring(path, facts, dict(stored))
    except (OSError, ValueError, EOFError) as error:
        raise RunError(
            f"a kept score is damaged: {error}",
            where=path,
            fix="delete it and score again",
        ) from None


def keep(run: Path, name: str, facts: Mapping[str, Any]) -> Path:
    """Write results/NAME.json, in place of an older one."""
    path = run / RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _json(facts))
    return path


def kept(run: Path, name: str) -> dict[str, Any] | None:
    """results/NAME.json, or None where there is none. Raises RunError when it is damaged."""
    path = run / RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"a kept result is damaged: {error}", where=path, fix="make it again") from None
    return facts


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()
