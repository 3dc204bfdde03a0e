"""bytegolf train: a preset and a dataset -> a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.configs import OVERRIDE, SHRINK, load
from bytegolf.cli.output import CACHE, DEVICE, JSON, Output

HELP = """Train a model and write a run directory.

CONFIG is a preset (`bytegolf presets list`) or a TOML file, which may say `extends = "pocket"`. Anything in it can
be set with `-o key=value`. Exactly one budget counts: --seconds, --steps or --tokens replaces the preset's. Ctrl-C
once stops, averages and saves; twice leaves at once.

Example: `bytegolf train pocket --seconds 180`

Example: `bytegolf train pocket --out runs/wide -o model.dim=192`

Example: `bytegolf train pr162-bigram-swa --shrink` (the system at a size for a trial)
"""


def command(
    config: str = typer.Argument(help="A preset or a TOML file."),
    data: str = typer.Option(
        datasets.DEFAULT_CORPUS, help="A dataset folder, or an embedded corpus, built on first use."
    ),
    out: Path | None = typer.Option(None, help="Run directory.  [default: runs/NAME]", show_default=False),
    seconds: float | None = typer.Option(None, help="Train for so many seconds."),
    steps: int | None = typer.Option(None, help="Train for so many optimizer steps."),
    tokens: int | None = typer.Option(None, help="Train on so many tokens."),
    seed: int | None = typer.Option(None, help="Seed of initial weights and data order."),
    device: str = DEVICE,
    override: list[str] = OVERRIDE,
    shrink: bool = SHRINK,
    force: bool = typer.Option(False, "--force", help="Replace an older run in the same place."),
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    output = Output(as_json)
    budget = {"seconds": seconds, "steps": steps, "tokens": tokens}
    chosen = {key: value for key, value in budget.items() if value is not None}
    if len(chosen) > 1:
        raise typer.BadParameter("--seconds, --steps and --tokens exclude each other; give one")
    extra = {**chosen, **({} if seed is None else {"seed": seed})}
    resolved = load(config, [*override, *(f"train.{key}={value}" for key, value in extra.items())], shrink)
    dataset = datasets.find_or_build(output, data, resolved.model.vocab_size, cache)
    folder = out or Path("runs") / resolved.name

    from bytegolf.cli.progress import TrainingProgress
    from bytegolf.config.load import with_overrides
    from bytegolf.train.fit import estimated_bpb, fit

    bos = dataset.tokenizer.bos_id
    if resolved.model.bos_id == 0 != bos:  # 0 is what a config without a word on it has
        resolved = with_overrides(resolved, [f"model.bos_id={bos}"])
        output.tell(f"model.bos_id is {bos}, that of the dataset's tokenizer")
    progress = TrainingProgress(output, estimated_bpb(dataset))
    run = fit(resolved, dataset, folder, device=device, force=force, hooks=[progress], announce=output.tell)
    summary = run.summary
    output.show(
        f"trained {summary['steps']:,} steps, {summary['tokens']:,} tokens in {summary['seconds']:.1f} s"
        + (" (interrupted)" if summary["interrupted"] else "")
    )
    output.show(f"run: {folder}")
    output.show(f"next: bytegolf pack {folder}")
    result = {"run": str(folder), **summary}
    output.finish(result)
    return result
