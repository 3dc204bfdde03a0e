"""Config + dataset -> run directory: the whole of `bytegolf train`."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bytegolf import __version__, registry
from bytegolf.config.recipe import config_hash
from bytegolf.config.schema import Config
from bytegolf.data.dataset import Dataset
from bytegolf.data.loader import Batches
from bytegolf.data.prefetch import Prefetched
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import ConfigError, DataError
from bytegolf.model.backend import Backend, Trainer
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import Manifest, flops_per_token, manifest
from bytegolf.model.storage import codec_overrides
from bytegolf.model.world import ALONE, World
from bytegolf.train.checkpoint import Checkpoints, KeepCheckpoints
from bytegolf.train.clock import Clock
from bytegolf.train.interrupt import graceful_interrupt
from bytegolf.train.loop import Done, Hook, Outcome, Pause, run_loop, warm_up
from bytegolf.train.run_dir import (
    CHECKPOINTS,
    METRICS,
    SUMMARY,
    MetricsFile,
    Run,
    Started,
    clear_unfinished,
    create_run,
    finish_run,
    open_run,
    resume_metrics,
)
from bytegolf.train.run_ledger import chronicled
from bytegolf.train.tracking import Tracking

# A forward and a backward pass cost three times the operations of a forward pass.
TRAIN_OVER_FORWARD = 3
CHECKPOINT_SECONDS = 60.0


def fit(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "auto",
    library: str = "torch",
    force: bool = False,
    resume: bool = False,
    hooks: Sequence[Hook] = (),
    pauses: Callable[[Backend], Sequence[Pause]] = lambda backend: (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    keep: int = 2,
    announce: Callable[[str], None] = lambda line: None,
    world: World = ALONE,
    job: str = "",
    tracking: Tracking | None = None,
) -> Run:
    """Train a model and write its run directory; everything that can be wrong is checked before it is made.

    library: the backend. resume: go on with the run in `out`, whose config this is, from its newest checkpoint or
    from the start. checkpoint_seconds: training time between two, 0 for none. All ranks call this; rank 0 writes
    and tells the trackers. Ctrl-C and SIGTERM end the loop early and save. Raises UserError.
    """
    check_trainable(config, dataset)
    writes, batches = world.rank == 0, _batches(config, dataset, world)
    checkpoints = Checkpoints(out / CHECKPOINTS, keep)
    found = world.share(checkpoints.newest(announce) if resume and writes else None)
    start, aside = (Done(), {}) if found is None else (found.done, found.aside)
    train = config.train if found is None else config.train.model_copy(update={"precision": found.precision})
    backend = _initialised(config, device, library, world)
    trainer = backend.trainer(train)
    _introduce(backend, announce, manifest(config.model))
    if writes and resume:
        _go_on(out, checkpoints, start, announce)
    elif writes:
        create_run(out, config, dataset.tokenizer.to_bytes(), _started(dataset, job, library), force=force)
    if found is not None:
        trainer.load_state(found.arrays)
    every, last, clock = checkpoint_seconds, start.seconds, Clock(start.seconds, aside)
    keeper = KeepCheckpoints(checkpoints, trainer, backend.precision, every, last, writes, announce)
    story = _story(config, dataset, out, world, resume, announce)
    with graceful_interrupt(patient=world.size > 1) as stop, story as end:
        _warm_up(warm_up_steps(config, trainer, backend), trainer, batches, start, clock, announce)
        watching = [_metrics(out, config, backend, clock, tracking), *hooks] if writes else hooks
        standing = [keeper, *pauses(backend)]
        with Prefetched(batches, start.steps) as ahead:
            outcome = run_loop(
                trainer, ahead, train, watching, stop, pauses=standing, world=world, start=start, clock=clock
            )
        if outcome.interrupted and checkpoint_seconds:
            keeper.on_pause(outcome.done, outcome.aside)
        end |= {key: getattr(outcome, key) for key in ("interrupted", "steps", "tokens", "seconds")}
        summary = summarise(config, dataset, backend, outcome, averaged=trainer.use_averaged())
        if writes:
            finish_run(out, backend.weights(), summary)
            if not outcome.interrupted:
                checkpoints.clear()
        world.wait()
    return open_run(out) if writes else Run(out, config, dataset.tokenizer.to_bytes(), summary)


def _story(
    config: Config,
    dataset: Dataset,
    out: Path,
    world: World,
    resume: bool,
    announce: Callable[[str], None],
) -> AbstractContextManager[dict[str, Any]]:
    """The ledger of the folder hears how the run began, and how it ended."""
    if world.rank:
        return nullcontext({})
    data = {key: value for key, value in described(dataset).items() if key != "folder"}
    facts = {
        "config_hash": config_hash(config),
        "config": config.name,
        "seed": config.train.seed,
        "data": data,
    }
    return chronicled(out, "resumed" if resume else "started", facts | {"processes": world.size}, announce)


def check_trainable(config: Config, dataset: Dataset) -> None:
    """Raises ConfigError for another vocabulary, and for codec overrides that would fail only at packing."""
    check_tokenizer(config, dataset.tokenizer)
    codec_overrides(config)


def _initialised(config: Config, device: str, library: str, world: World) -> Backend:
    """The model with the initial weights of its seed."""
    backend: Backend = registry.lookup("backend", library)(config.model, device=device, world=world)
    backend.load(initial_weights(manifest(config.model), config.train.seed))
    return backend


def _started(dataset: Dataset, job: str, library: str) -> Started:
    return Started(described(dataset), job, library)


def _batches(config: Config, dataset: Dataset, world: World) -> Batches:
    return Batches.of(
        dataset.train_stream(),
        order=config.train.order,
        context=config.model.context,
        rows=config.train.rows,
        seed=config.train.seed,
        bos_id=config.model.bos_id,
        rank=world.rank,
        size=world.size,
    )


def _introduce(backend: Backend, announce: Callable[[str], None], tensors: Manifest) -> None:
    announce(f"{tensors.parameters:,} parameters on {backend.device}; " + "; ".join(backend.notes))
    if tensors.dead:
        announce(
            f"{tensors.dead_parameters():,} parameters never get a gradient: {', '.join(sorted(tensors.dead))}"
        )


def _metrics(
    out: Path, config: Config, backend: Backend, clock: Clock, tracking: Tracking | None
) -> MetricsFile:
    """metrics.jsonl, and the trackers that follow it; to open them is no training."""
    peak = backend.peak_flops()
    if tracking is not None and tracking.makers:
        with clock.stopped("trackers"):
            tracking.open(out, config)
    return MetricsFile(
        out / METRICS,
        flops_per_token=TRAIN_OVER_FORWARD * flops_per_token(config.model),
        peak_flops=None if peak is None else peak * backend.world.size,
        tracking=tracking,
    )


def warm_up_steps(config: Config, trainer: Trainer, backend: Backend) -> int:
    """How many steps are taken and undone before the clock starts."""
    return config.train.compile_warmup_steps if trainer.compiled or backend.device == "cuda" else 0


def _warm_up(
    steps: int, trainer: Trainer, batches: Batches, start: Done, clock: Clock, announce: Callable[[str], None]
) -> None:
    if not steps:
        return
    announce(f"warming up: {steps} steps, undone before the clock starts; compiling takes a while")
    with clock.stopped("warm-up"):
        warm_up(trainer, batches, steps, start.steps)


def _go_on(out: Path, checkpoints: Checkpoints, start: Done, announce: Callable[[str], None]) -> None:
    """Make the directory what it was at the checkpoint. run.json goes: the run is under way again."""
    (out / SUMMARY).unlink(missing_ok=True)
    clear_unfinished(out)
    resume_metrics(out / METRICS, start.steps)
    checkpoints.clear_leftovers()
    announce(
        f"resuming {out} after step {start.steps:,}, {start.tokens:,} tokens, {start.seconds:.1f} s of training"
        if start.steps
        else f"no checkpoint in {out} yet: it starts from the beginning"
    )


def described(dataset: Dataset) -> dict[str, Any]:
    """Which data a run is trained on."""
    splits = dataset.manifest.splits
    return {
        "name": dataset.manifest.name,
        "folder": str(dataset.folder.resolve()),
        "train_sha256": splits.train.identity,
        "val_sha256": splits.val.identity,
        "tokenizer_sha256": dataset.tokenizer.sha256,
        "tokenizer_kind": dataset.tokenizer.kind,
        "train_shards": len(splits.train.files),
        "train_tokens": splits.train.tokens,
        "val_tokens": splits.val.tokens,
    }


def check_same_data(started: Started, dataset: Dataset, out: Path) -> None:
    """Raises DataError when a run would go on with other tokens than it began with."""
    keys = ("train_sha256", "tokenizer_sha256")
    now = described(dataset)
    if any(started.data.get(key) != now[key] for key in keys):
        raise DataError(
            "a run goes on with the tokens it began with",
            got=f"{dataset.folder}, which holds others than {started.data.get('folder')} did",
            where=out,
            fix="pass the --data it was started with, or start a new run",
        )


def check_tokenizer(config: Config, tokenizer: Tokenizer) -> None:
    """Raises ConfigError when the model and the tokenizer do not count the same tokens."""
    model = (config.model.vocab_size, config.model.bos_id)
    found = (tokenizer.vocab_size, tokenizer.bos_id)
    if model != found:
        raise ConfigError(
            f"the model must have the tokenizer's vocabulary: {found[0]} entries, BOS {found[1]}",
            got=f"{model[0]} entries, BOS {model[1]}",
            where="model.vocab_size, model.bos_id",
            fix=f"-o model.vocab_size={found[0]} -o model.bos_id={found[1]}, or another --data",
        )


def estimated_bpb(dataset: Dataset) -> Callable[[float], float]:
    """loss in nats per token -> bits per byte, by the training split's own tokens per byte."""
    split = dataset.manifest.splits.train
    factor = split.tokens / split.bytes / math.log(2)
    return lambda loss: loss * factor


def summarise(
    config: Config,
    dataset: Dataset,
    backend: Backend,
    outcome: Outcome,
    *,
    averaged: bool,
) -> dict[str, Any]:
    """run.json: what was trained on what, for how long, where. seconds: of training alone; aside: of the rest."""
    forward = flops_per_token(config.model)
    totals = asdict(outcome)
    tensors = manifest(config.model)
    return {
        "name": config.name,
        "version": __version__,
        "parameters": tensors.parameters,
        "parameters_by_role": tensors.parameters_by_role(),
        **totals,
        "processes": backend.world.size,
        "averaged": averaged,
        "seed": config.train.seed,
        "flops_per_token": forward,
        "training_flops": TRAIN_OVER_FORWARD * forward * outcome.tokens,
        "backend": backend.library,
        "device": backend.device,
        "precision": backend.precision,
        "notes": backend.notes,
        "data": described(dataset),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "hardware": backend.hardware,
        "libraries": {name: version(name) for name in (backend.library, "numpy")},
    }
