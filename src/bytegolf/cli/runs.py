"""bytegolf runs: what the ledger of a folder knows of every run that was started there."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.train.attempts import Attempt

LIST_HELP = """Every run that was started in a folder, and how it ended.

Runs of one config (seeds apart) stand together under the hash of the config. The ledger is FOLDER/ledger.jsonl;
`train`, `pack` and `score` write it, line by line, each with the hash of the line before. A line that was altered,
removed or moved is an error that names it.

Example: `bytegolf runs list`

Example: `bytegolf runs list --folder sweeps/lr`
"""

SHOW_HELP = """All that the ledger says of one run, and the config in its directory.

Example: `bytegolf runs show runs/demo`
"""

BEST_HELP = """The configs with the lowest scores, text by text.

A config's score is the mean over its seeds, each with the newest score of its run. Scores on different texts are
not ranked together. Runs that were started and have no score, and runs that others replaced, are named, so that
dropped seeds show.

Example: `bytegolf runs best`
"""

app = typer.Typer(help="Every run of a folder: list, show, best.", no_args_is_help=True)
FOLDER = typer.Option(Path("runs"), help="Where the run directories are.")


@app.command("list", help=LIST_HELP)
def list_(folder: Path = FOLDER, as_json: bool = JSON) -> dict[str, Any]:
    output = Output(as_json)
    found = _attempts(folder)
    by_config: dict[str, list[Attempt]] = {}
    for attempt in found:
        by_config.setdefault(attempt.recipe, []).append(attempt)
    for recipe, members in by_config.items():
        output.table(
            ["run", "seed", "outcome", "steps", "seconds", "bytes", "bits per byte", "begun"],
            [_row(attempt) for attempt in members],
            title=f"{members[0].facts.get('config', '')}  {recipe[:12]}",
        )
        output.show()
    if not found:
        output.show(f"no run was started in {folder}, or none since there are ledgers")
    result = {"folder": str(folder), "runs": [_facts(attempt) for attempt in found]}
    output.finish(result)
    return result


def _attempts(folder: Path) -> list[Attempt]:
    from bytegolf.train.attempts import attempts
    from bytegolf.train.run_ledger import read_ledger

    return attempts(read_ledger(folder))


def _row(attempt: Attempt) -> list[str]:
    score = attempt.newest()
    return [
        attempt.run + (" (replaced)" if attempt.replaced else ""),
        str(attempt.seed),
        attempt.outcome,
        f"{attempt.end['steps']:,}" if "steps" in attempt.end else "",
        f"{attempt.end['seconds']:.1f}" if "seconds" in attempt.end else "",
        f"{attempt.packed['artifact_bytes']:,}" if attempt.packed else "",
        f"{score['bpb']:.5f}" if score else "",
        attempt.begun[:16].replace("T", " "),
    ]


def _facts(attempt: Attempt) -> dict[str, Any]:
    return {
        "run": attempt.run,
        "begun": attempt.begun,
        **attempt.facts,
        "outcome": attempt.outcome,
        "replaced": attempt.replaced,
        "end": attempt.end,
        "packed": attempt.packed,
        "scores": attempt.scores,
    }


@app.command("show", help=SHOW_HELP)
def show(run: Path = typer.Argument(help="A run directory."), as_json: bool = JSON) -> dict[str, Any]:
    from bytegolf.errors import RunError
    from bytegolf.train.run_dir import CONFIG
    from bytegolf.train.run_ledger import read_ledger

    output = Output(as_json)
    place = run.resolve()
    entries = [entry for entry in read_ledger(place.parent) if entry.run == place.name]
    if not entries:
        raise RunError("the ledger does not know the run", got=str(run), fix="see `bytegolf runs list`")
    for entry in entries:
        output.show(f"{entry.time}  {entry.event}")
        for key, value in entry.facts.items():
            output.show(f"    {key}: {value}")
    config = place / CONFIG
    text = config.read_text(encoding="utf-8") if config.is_file() else None
    output.show()
    output.show(text.rstrip() if text is not None else f"its directory is gone: {run}")
    events = [{"time": entry.time, "event": entry.event, **entry.facts} for entry in entries]
    result = {"run": str(run), "events": events, "config": text}
    output.finish(result)
    return result


@app.command("best", help=BEST_HELP)
def best(folder: Path = FOLDER, as_json: bool = JSON) -> dict[str, Any]:
    output = Output(as_json)
    every = _attempts(folder)
    found = [attempt for attempt in every if not attempt.replaced]
    texts: dict[str, dict[str, list[Attempt]]] = {}
    for attempt in found:
        for text in dict.fromkeys(score["text_sha256"] for score in attempt.scores):
            texts.setdefault(text, {}).setdefault(attempt.recipe, []).append(attempt)
    ranked = {text: _ranked(text, configs, found) for text, configs in texts.items()}
    for text, rows in ranked.items():
        output.table(
            ["config", "mean bpb", "sd", "seeds", "unscored", "best run", "bpb"],
            [
                [
                    f"{row['config']}  {row['config_hash'][:12]}",
                    f"{row['mean']:.5f}",
                    f"{row['sd']:.5f}" if row["sd"] is not None else "",
                    str(len(row["seeds"])),
                    str(row["without_score"]),
                    row["best_run"],
                    f"{row['best']:.5f}",
                ]
                for row in rows
            ],
            title=f"text {text[:16]}",
        )
        output.show()
    if not ranked:
        output.show(f"no run of {folder} has a score")
    if any(len(rows) > 1 for rows in ranked.values()):
        output.tell("the best of several is partly luck: `bytegolf compare` says what a difference is worth")
    left = {
        "without_score": [_named(a, a.outcome) for a in found if not a.scores],
        "replaced": [
            _named(a, f"{s['bpb']:.5f}" if (s := a.newest()) else "no score") for a in every if a.replaced
        ],
    }
    for what, names in left.items():
        if names:
            output.show(f"{what.replace('_', ' ')}: {', '.join(names)}")
    mixed = [text for text, configs in texts.items() if len(_ways(text, configs)) > 1]
    for text in mixed:
        output.show(f"text {text[:16]} was scored in several ways; `bytegolf runs show RUN` has the settings")
    result = {"folder": str(folder), "texts": ranked, **left, "scored_in_several_ways": mixed}
    output.finish(result)
    return result


def _named(attempt: Attempt, what: str) -> str:
    return f"{attempt.run} (seed {attempt.seed}, {what})"


def _ways(text: str, configs: dict[str, list[Attempt]]) -> set[str]:
    """The settings of the scores that are ranked."""
    newest = [attempt.newest(text) or {} for members in configs.values() for attempt in members]
    return {json.dumps(score.get("score"), sort_keys=True) for score in newest}


def _ranked(text: str, configs: dict[str, list[Attempt]], every: Sequence[Attempt]) -> list[dict[str, Any]]:
    """One row a config, the lowest mean first."""
    rows = []
    for recipe, members in configs.items():
        scores = {attempt.run: float((attempt.newest(text) or {})["bpb"]) for attempt in members}
        first = min(scores, key=scores.__getitem__)
        values = list(scores.values())
        rows.append(
            {
                "config": members[0].facts.get("config", ""),
                "config_hash": recipe,
                "mean": statistics.fmean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else None,
                "seeds": [attempt.seed for attempt in members],
                "without_score": sum(a.recipe == recipe and a.newest(text) is None for a in every),
                "best_run": first,
                "best": scores[first],
            }
        )
    return sorted(rows, key=lambda row: row["mean"])
