"""Results -> the folder of a submission: README.md, submission.json, logs, train_gpt.py and its readable source.

Every figure in it is read from the runs; what a reader should know beside them stands under the caveats.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from bytegolf import __version__
from bytegolf.config.recipe import config_hash
from bytegolf.errors import BudgetError, RunError
from bytegolf.files import write_atomically
from bytegolf.record.bundle import Bundle, bundle
from bytegolf.record.evidence import SeedResult
from bytegolf.record.finished_log import of_result
from bytegolf.record.requirements import requirements

CODE, JSON, README, SOURCE, REQUIREMENTS = (
    "train_gpt.py",
    "submission.json",
    "README.md",
    "source",
    "requirements.txt",
)
MOST_BYTES = 16_000_000
MOST_SECONDS = 600.0
TRACKS = ("10min_16mb", "non_record_16mb")
PROOFS = ("scored", "examined", "proven")  # from weak to strong
EIGHT = "8x NVIDIA H100"


@dataclass(frozen=True)
class Credits:
    """Who submits what. date: YYYY-MM-DD."""

    title: str
    author: str
    github_id: str
    track: str
    date: str
    blurb: str

    @property
    def folder(self) -> Path:
        """`track_TRACK/DATE_Title_With_Underscores`."""
        title = re.sub(r"[^A-Za-z0-9.-]+", "_", self.title).strip("_.")
        return Path(f"track_{self.track}") / f"{self.date}_{title}"


@dataclass(frozen=True)
class Sibling:
    """A run of the same config that is not in the record. why: the reason."""

    name: str
    seed: int
    bpb: float | None
    why: str


def log_name(seed: int) -> str:
    return f"train_seed{seed}.log"


def write_record(
    root: Path, credits: Credits, results: Sequence[SeedResult], left_out: Sequence[Sibling], *, force: bool
) -> Path:
    """Write the folder under `root` and return it. It appears whole or not at all.

    Raises RunError when it is there already, and what `check_limits` raises.
    """
    out = root / credits.folder
    if out.exists() and not force:
        raise RunError(
            "a record is not overwritten", got=str(out), fix="choose another --title, or pass --force"
        )
    config = results[0].run.config
    made = bundle(config, results[0].run.summary["data"]["tokenizer_kind"])
    check_limits(credits.track, len(made.code), results)
    facts = submission(credits, len(made.code), results, left_out)
    files: dict[str, bytes] = {
        CODE: made.code,
        JSON: (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode(),
        README: readme(credits, facts, results, left_out, made).encode(),
        REQUIREMENTS: requirements(made.sources).encode(),
        **{f"{SOURCE}/{name}": text for name, text in made.sources.items()},
        **{log_name(r.seed): of_result(r, len(made.code)).encode() for r in results},
    }
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(temporary / name, content)
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def check_limits(track: str, code_bytes: int, results: Iterable[SeedResult]) -> None:
    """Raises BudgetError for code and model above the challenge's bytes, RunError for a run above its time."""
    for result in results:
        total = code_bytes + result.spent.total
        if total > MOST_BYTES:
            raise BudgetError(
                f"code and model may have {MOST_BYTES:,} bytes",
                got=f"{code_bytes:,} + {result.spent.total:,} = {total:,}, seed {result.seed}",
                fix=f"bytegolf pack {result.run.path} --fit {MOST_BYTES - code_bytes}",
            )
        seconds = {"training": result.run.summary["seconds"], "scoring": result.scored["seconds"]}
        for what, spent in seconds.items():
            if track == TRACKS[0] and spent > MOST_SECONDS:
                raise RunError(
                    f"the track {track} allows {MOST_SECONDS:.0f} seconds of {what}",
                    got=f"{spent:.1f} s, seed {result.seed}",
                    where="--track",
                    fix=f"submit it to {TRACKS[1]}",
                )


def submission(
    credits: Credits, code_bytes: int, results: Sequence[SeedResult], left_out: Sequence[Sibling]
) -> dict[str, Any]:
    """submission.json, as submission.schema.json has it."""
    summaries = [result.run.summary for result in results]
    largest = max(result.spent.total for result in results)
    train, scoring = (
        max(summary["seconds"] for summary in summaries),
        max(result.scored["seconds"] for result in results),
    )
    first = results[0]
    return {
        "name": credits.title,
        "author": credits.author,
        "github_id": credits.github_id,
        "date": credits.date,
        "track": credits.track,
        "blurb": credits.blurb,
        "val_loss": statistics.fmean(result.nats_per_token for result in results),
        "val_bpb": statistics.fmean(result.bpb for result in results),
        "val_loss_std": _spread([result.nats_per_token for result in results]),
        "val_bpb_std": _spread([result.bpb for result in results]),
        "seeds": [result.seed for result in results],
        "seed_results": {str(result.seed): _of_seed(result) for result in results},
        "pre_quant_val_loss": _mean([result.unpacked_nats_per_token for result in results]),
        "pre_quant_val_bpb": _mean([result.unpacked_bpb for result in results]),
        "step_stop": min(summary["steps"] for summary in summaries),
        "wallclock_seconds": train,
        "eval_time_seconds": scoring,
        "bytes_total": code_bytes + largest,
        "bytes_model": largest,
        "bytes_code": code_bytes,
        "hardware": ", ".join(dict.fromkeys(summary["hardware"] for summary in summaries)),
        "pytorch_version": ", ".join(dict.fromkeys(_torch(s) for s in summaries)),
        "model_params": summaries[0]["parameters"],
        "compliance": {
            "bytes_within_16000000": code_bytes + largest <= MOST_BYTES,
            "train_within_600_s": train <= MOST_SECONDS,
            "eval_within_600_s": scoring <= MOST_SECONDS,
        },
        "bytegolf": {
            "version": __version__,
            "config_hash": config_hash(first.run.config),
            "text_sha256": first.scored["text_sha256"],
            "text_bytes": first.scored["bytes"],
            "targets": first.scored["targets"],
            "proof": weakest(results),
            "left_out": {sibling.name: sibling.why for sibling in left_out},
        },
    }


def weakest(results: Sequence[SeedResult]) -> str:
    """What can be said of all files: the proof state of the one that was looked at least."""
    return min((result.state for result in results), key=PROOFS.index)


def _of_seed(result: SeedResult) -> dict[str, Any]:
    return {
        "val_loss": result.nats_per_token,
        "val_bpb": result.bpb,
        "pre_quant_val_bpb": result.unpacked_bpb,
        "steps": result.run.summary["steps"],
        "train_seconds": result.run.summary["seconds"],
        "eval_seconds": result.scored["seconds"],
        "bytes_model": result.spent.total,
        "artifact_sha256": result.artifact_sha256,
        "proof": result.state,
    }


def _spread(values: Sequence[float]) -> float | None:
    """Of a sample (n - 1); of one value nothing is known."""
    return statistics.stdev(values) if len(values) > 1 else None


def _torch(summary: Mapping[str, Any]) -> str:
    """The version of torch, or that there was none: a run that was trained with mlx has another library."""
    libraries: dict[str, str] = summary["libraries"]
    return libraries.get("torch") or f"none: mlx {libraries['mlx']}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def readme(
    credits: Credits,
    facts: Mapping[str, Any],
    results: Sequence[SeedResult],
    left_out: Sequence[Sibling],
    made: Bundle,
) -> str:
    """README.md of the record, from readme.md.j2."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["n"] = lambda value: f"{value:,}"
    template = resources.files("bytegolf.record").joinpath("readme.md.j2").read_text(encoding="utf-8")
    run = results[0].run
    return environment.from_string(template).render(
        credits=credits,
        facts=facts,
        results=results,
        left_out=left_out,
        run=run,
        data=run.summary["data"],
        config=run.config,
        largest=max(results, key=lambda result: result.spent.total).spent,
        limit=MOST_BYTES,
        proofs={
            "proven": "decoded from the file",
            "examined": "examined by the referee, not decoded",
            "scored": "scored, not examined",
        },
        caveats=list(caveats(facts, results, left_out)),
        modules=len(made.sources),
    )


def caveats(
    facts: Mapping[str, Any], results: Sequence[SeedResult], left_out: Sequence[Sibling]
) -> Iterable[str]:
    """What a reader of the score must know, found in the runs."""
    tests: list[tuple[Callable[[], bool], str]] = [
        (
            lambda: len(results) < 3,
            f"Seeds: {len(results)}. How far another seed would be off is "
            + ("not known." if len(results) == 1 else "known badly."),
        ),
        (
            lambda: EIGHT not in facts["hardware"],
            f"Trained on {facts['hardware']}, not on eight H100s: times and steps do not carry over.",
        ),
        (
            lambda: "fineweb" not in results[0].run.summary["data"]["name"].lower(),
            f"The text is `{results[0].run.summary['data']['name']}`, not FineWeb: the score compares with others "
            "on the same text only.",
        ),
        (
            lambda: facts["bytegolf"]["proof"] != "proven",
            "Not every file was proven by decoding the text with it (`bytegolf prove`).",
        ),
        (
            lambda: results[0].scored["score"]["adaptation"]["kind"] != "none",
            "The score includes test-time training: each chunk is scored before it is learnt.",
        ),
        (
            lambda: bool(left_out),
            f"Runs of the same config that are left out: {len(left_out)}; they are listed above.",
        ),
        (
            lambda: not all(facts["compliance"].values()),
            "Beyond the limits of the ten-minute track: "
            + ", ".join(name for name, kept in facts["compliance"].items() if not kept)
            + ".",
        ),
    ]
    return (text for holds, text in tests if holds())
