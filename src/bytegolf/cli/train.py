"""bytegolf train: a preset and a dataset -> a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.backends import BACKEND, DEVICE, choose
from bytegolf.cli.configs import OVERRIDE, SHRINK, load
from bytegolf.cli.output import CACHE, JSON, Output
from bytegolf.cli.world import JOIN_SECONDS, first_on_rank_0, join
from bytegolf.errors import ConfigError
from bytegolf.launch import Launch, launched

if TYPE_CHECKING:
    from bytegolf.config.schema import Config
    from bytegolf.data.dataset import Dataset
    from bytegolf.model.world import World

HELP = """Train a model and write a run directory.

CONFIG is a preset (`bytegolf presets list`) or a TOML file, which may say `extends = "pocket"`. Anything in it can
be set with `-o key=value`. Exactly one budget counts: --seconds, --steps or --tokens replaces the preset's. The
seconds are those of training: compiling, checkpoints and validation come on top and are told apart. Ctrl-C or
SIGTERM once stops, averages and saves; twice leaves at once.

A run that was stopped or killed goes on with --resume, from the newest checkpoint in its directory. Several
processes train one model when torchrun starts them, `torchrun --standalone --nproc_per_node=8 -m bytegolf train`
and so on (docs/scale.md); killed ones go on by its --max-restarts.

Example: `bytegolf train pocket --seconds 180`

Example: `bytegolf train pocket --out runs/wide -o model.dim=192`

Example: `bytegolf train --resume runs/wide`

Example: `bytegolf train pocket --log tensorboard` (beside metrics.jsonl; docs/sweeps.md)

Example: `bytegolf train pr162-bigram-swa --shrink` (the system at a size for a trial)
"""


def command(
    config: str | None = typer.Argument(None, help="A preset or a TOML file."),
    data: str | None = typer.Option(
        None,
        help="A dataset folder, or an embedded corpus, built on first use."
        f"  [default: {datasets.DEFAULT_CORPUS}; with --resume that of the run]",
        show_default=False,
    ),
    out: Path | None = typer.Option(None, help="Run directory.  [default: runs/NAME]", show_default=False),
    seconds: float | None = typer.Option(None, help="Train for so many seconds."),
    steps: int | None = typer.Option(None, help="Train for so many optimizer steps."),
    tokens: int | None = typer.Option(None, help="Train on so many tokens."),
    seed: int | None = typer.Option(None, help="Seed of initial weights and data order."),
    backend: str = BACKEND,
    device: str = DEVICE,
    override: list[str] = OVERRIDE,
    shrink: bool = SHRINK,
    force: bool = typer.Option(False, "--force", help="Replace an older run in the same place."),
    resume: Path | None = typer.Option(
        None, help="Go on with the run in this directory.", show_default=False
    ),
    checkpoint_every: float = typer.Option(
        60.0, min=0.0, help="Seconds of training between two checkpoints; 0: none."
    ),
    keep: int = typer.Option(2, min=1, help="How many checkpoints to keep."),
    log: list[str] = typer.Option(
        [], help="Show the metrics in tensorboard, trackio or wandb (offline) too; repeat it for more."
    ),
    join_seconds: float = JOIN_SECONDS,
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.train.tracking import Tracking

    output, begun_on = Output(as_json), None
    tracking = Tracking(log, output.tell)
    changes = _budget(seconds, steps, tokens) | ({} if seed is None else {"seed": seed})
    if resume is not None:
        _nothing_else(config, override, shrink, force, out, *changes.values())
        resolved, data, begun_on = _unfinished(resume, data)
        folder = resume
    else:
        if config is None:
            raise typer.BadParameter("give a CONFIG, for example `bytegolf train pocket`, or --resume RUN")
        resolved = load(
            config, [*override, *(f"train.{key}={value}" for key, value in changes.items())], shrink
        )
        data, folder = data or datasets.DEFAULT_CORPUS, out or Path("runs") / resolved.name
    place = choose(output, backend, device, begun_on)
    options: dict[str, Any] = {"force": force, "checkpoint_seconds": checkpoint_every, "keep": keep}
    options |= {"device": place.device, "library": place.backend, "tracking": tracking}
    with join(place, join_seconds) as world:
        vocab = resolved.model.vocab_size
        dataset = first_on_rank_0(world, lambda: datasets.find_or_build(output, data, vocab, cache))
        summary = _fit(output, resolved, dataset, folder, world, resume is not None, options)
    _show(output, folder, summary)
    result = {"run": str(folder), **summary}
    output.finish(result)
    return result


def _fit(
    output: Output,
    config: Config,
    dataset: Dataset,
    folder: Path,
    world: World,
    resume: bool,
    options: dict[str, Any],
) -> dict[str, Any]:
    from bytegolf.cli.progress import TrainingProgress
    from bytegolf.score.along import along, sentence
    from bytegolf.train.fit import estimated_bpb, fit

    def heard(line: dict[str, Any]) -> None:
        options["tracking"].on_validation(line)
        output.tell(sentence(line))

    config, launch = with_bos(output, config, dataset), launched()
    run = fit(
        config,
        dataset,
        folder,
        resume=resume or _started_again(launch, folder, config),
        hooks=[TrainingProgress(output, estimated_bpb(dataset))],
        pauses=along(config, dataset, folder, heard),
        announce=output.tell,
        world=world,
        job=launch.job,
        **options,
    )
    return run.summary


def _budget(seconds: float | None, steps: int | None, tokens: int | None) -> dict[str, float]:
    budget = {"seconds": seconds, "steps": steps, "tokens": tokens}
    chosen = {key: value for key, value in budget.items() if value is not None}
    if len(chosen) > 1:
        raise typer.BadParameter("--seconds, --steps and --tokens exclude each other; give one")
    return chosen


def _nothing_else(*given: object) -> None:
    if any(value not in (None, False, []) for value in given):
        raise ConfigError(
            "a run goes on as it was begun",
            got="a CONFIG, or an option that would change the run",
            where="--resume",
            fix="give --resume RUN alone, or with --data, --backend, --device and --checkpoint-every",
        )


def _unfinished(run: Path, data: str | None) -> tuple[Config, str, str]:
    """The config of a run, the dataset that it is trained on, and the backend that it was begun on."""
    from bytegolf.data.dataset import open_dataset
    from bytegolf.train.fit import check_same_data
    from bytegolf.train.run_dir import unfinished_run

    config, started = unfinished_run(run)
    folder = data or started.data["folder"]
    check_same_data(started, open_dataset(folder), run)
    return config, folder, started.backend


def with_bos(output: Output, config: Config, dataset: Dataset) -> Config:
    """With the tokenizer's BOS, where the config says nothing about it."""
    from bytegolf.config.load import with_overrides

    bos = dataset.tokenizer.bos_id
    if not config.model.bos_id == 0 != bos:  # 0 is what a config without a word on it has
        return config
    output.tell(f"model.bos_id is {bos}, that of the dataset's tokenizer")
    return with_overrides(config, [f"model.bos_id={bos}"])


def _started_again(launch: Launch, folder: Path, config: Config) -> bool:
    """Whether torchrun has restarted this job and `folder` holds what the killed processes did of it."""
    from bytegolf.errors import RunError
    from bytegolf.train.run_dir import unfinished_run

    if not launch.restarts:
        return False
    try:
        found, started = unfinished_run(folder)
    except RunError:
        return False
    return started.job == launch.job and found == config


def _show(output: Output, folder: Path, summary: dict[str, Any]) -> None:
    aside = [f"{name} {spent:.1f} s" for name, spent in summary["aside"].items() if spent >= 0.05]
    output.show(
        f"trained {summary['steps']:,} steps, {summary['tokens']:,} tokens in {summary['seconds']:.1f} s"
        + (f"; apart from that {', '.join(aside)}" if aside else "")
        + (" (interrupted)" if summary["interrupted"] else "")
    )
    output.show(f"run: {folder}")
    output.show(f"next: bytegolf pack {folder}")
    if summary["interrupted"]:
        output.show(f"  or: bytegolf train --resume {folder}")
