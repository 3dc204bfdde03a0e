"""bytegolf demo: the main job from text to score, made of the public commands."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.output import JSON, Output

HELP = """Run the main job end to end, printing each command.

It builds data from text that every machine has, trains, packs, scores, generates, and writes a page about it all;
about five minutes on two CPU cores.

Example: `bytegolf demo`

Example: `bytegolf demo --seconds 20 --out runs/quick`
"""

PROMPT = "def "


def command(
    seconds: float = typer.Option(180.0, min=1.0, help="Training time."),
    out: Path = typer.Option(Path("runs/demo"), help="Run directory; an older demo there is replaced."),
    preset: str = typer.Option("pocket", help="A preset or a TOML file."),
    data: str = typer.Option(datasets.DEFAULT_CORPUS, help="An embedded corpus, or the folder of a dataset."),
    as_json: bool = JSON,
) -> dict[str, Any]:
    output = Output(as_json)
    artifact = out / "model.golf"
    text = [] if data == datasets.DEFAULT_CORPUS else ["--data", data]  # the default of the commands below
    if (build := _build(preset, data)) is not None:
        _step(output, build)
    budget = ["--seconds", f"{seconds:g}"]
    trained = _step(output, ["train", preset, *text, *budget, "--out", str(out), "--force"])
    if trained["interrupted"]:
        output.finish(trained)
        return trained
    packed = _step(output, ["pack", str(out)])
    scored = _step(output, ["score", str(artifact), *text])
    _step(output, ["generate", str(artifact), "--prompt", PROMPT])
    reported = _step(output, ["report", str(out)])
    summary = {
        "artifact_bytes": packed["total"],
        "bpb": scored["bpb"],
        "unpacked_bpb": scored["unpacked_bpb"],
        "targets": scored["targets"],
        "bytes": scored["bytes"],
        "train_seconds": trained["seconds"],
        "baselines": {name: row.get("bpb") for name, row in scored["baselines"].items()},
        "report": reported["report"],
    }
    from bytegolf.files import write_atomically

    path = out / "summary.json"
    write_atomically(path, (json.dumps(summary, indent=2) + "\n").encode())
    output.show(f"\nsummary: {path}")
    output.show(f"report: {reported['report']}  (open it in a browser)")
    output.finish(summary)
    return summary


def _build(preset: str, data: str) -> list[str] | None:
    """The command that builds an embedded corpus in the vocabulary of the preset; None for a dataset folder."""
    from bytegolf import registry
    from bytegolf.config.load import load_config

    vocab = load_config(preset).model.vocab_size
    if data not in registry.names("corpus"):
        return None
    return ["data", "build", data, *([] if vocab == datasets.DEFAULT_VOCAB else ["--vocab", str(vocab)])]


def _step(output: Output, words: list[str]) -> dict[str, Any]:
    """Print a command as the user would type it, then run it; with --json its output goes to stderr."""
    from bytegolf.cli.app import run

    output.show(f"\n$ bytegolf {shlex.join(words)}")
    with contextlib.redirect_stdout(sys.stderr if output.as_json else sys.stdout):
        result: dict[str, Any] = run(words)
    return result
