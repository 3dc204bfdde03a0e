"""The log of a run that is over, in the challenge's line format, from what its directory holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bytegolf.record import challenge_log as log
from bytegolf.record.evidence import SeedResult
from bytegolf.score.along import VALIDATION, validations
from bytegolf.train.run_dir import METRICS, WEIGHTS


def of_result(result: SeedResult, code_bytes: int) -> str:
    """All lines. code_bytes: of the script that the run is submitted with."""
    run, scored, total = result.run, result.scored, log.iterations(result.run.config)
    steps = [json.loads(line) for line in (run.path / METRICS).read_text(encoding="utf-8").splitlines()]
    codec = log.matrices({row.name: row.codec for row in result.spent.roles})
    snapshots = log.Snapshots(run.config)
    lines = [
        *log.opening(run.config, run.summary["parameters"], run.summary["processes"], run.summary["data"]),
        *_of_steps(steps, validations(run.path / VALIDATION), total, snapshots),
        *log.after_training(
            run.config, len(steps), run.summary["seconds"], steps[-1]["peak_bytes"], snapshots
        ),
        *log.sizes((run.path / WEIGHTS).stat().st_size, code_bytes, result.spent.total, codec),
        *log.results(codec, scored["score"], scored["nats_per_token"], scored["bpb"], scored["seconds"]),
    ]
    return "".join(f"{line}\n" for line in lines)


def _of_steps(
    steps: Sequence[Mapping[str, Any]],
    scored: Sequence[Mapping[str, Any]],
    total: int,
    snapshots: log.Snapshots,
) -> Iterator[str]:
    after = {entry["step"]: entry for entry in scored}
    for record in steps:
        step = record["step"]
        if log.wanted(step) or record is steps[-1]:
            yield log.step_line(step, total, record["loss"], record["seconds"])
        yield from snapshots.after(step, record["lr_multiplier"])
        if step in after:
            yield log.validation_line(after[step], total)
