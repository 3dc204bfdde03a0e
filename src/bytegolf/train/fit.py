"""Config + dataset -> run directory: the whole of `bytegolf train`."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bytegolf import __version__, registry
from bytegolf.config.schema import Config
from bytegolf.data.dataset import Dataset
from bytegolf.data.loader import Batches
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import ConfigError
from bytegolf.model.backend import Backend
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import Manifest, flops_per_token, manifest
from bytegolf.model.storage import codec_overrides
from bytegolf.train.interrupt import graceful_interrupt
from bytegolf.train.loop import Hook, Outcome, run_loop
from bytegolf.train.run_dir import METRICS, MetricsFile, Run, create_run, finish_run, open_run

# A forward and a backward pass cost three times the operations of a forward pass.
TRAIN_OVER_FORWARD = 3


def fit(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "auto",
    force: bool = False,
    hooks: Sequence[Hook] = (),
    announce: Callable[[str], None] = lambda line: None,
) -> Run:
    """Train a model and write its run directory; everything that can be wrong is checked before it is made.

    Ctrl-C ends the loop early and saves; the summary then says `interrupted`. `announce` takes lines for
    the user. Raises UserError; a run that diverges leaves its metrics behind and no weights.
    """
    check_tokenizer(config, dataset.tokenizer)
    codec_overrides(config)  # a wrong one would show only when the run is packed
    seed = config.train.seed
    batches = Batches(dataset.train_tokens(), config.model.context, config.train.rows, seed)
    tensors = manifest(config.model)
    backend: Backend = registry.lookup("backend", "torch")(config.model, device=device)
    backend.load(initial_weights(tensors, seed))
    trainer = backend.trainer(config.train)
    announce(f"{tensors.parameters:,} parameters on {backend.device}; " + "; ".join(backend.notes))
    if tensors.dead:
        announce(
            f"{tensors.dead_parameters():,} parameters never get a gradient: {', '.join(sorted(tensors.dead))}"
        )
    create_run(out, config, dataset.tokenizer.to_bytes(), force=force)
    with graceful_interrupt() as stop:
        outcome = run_loop(trainer, batches, config.train, [MetricsFile(out / METRICS), *hooks], stop)
        averaged = trainer.use_averaged()
        summary = summarise(config, dataset, tensors, backend, outcome, averaged)
        finish_run(out, backend.weights(), summary)
    return open_run(out)


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
    tensors: Manifest,
    backend: Backend,
    outcome: Outcome,
    averaged: bool,
) -> dict[str, Any]:
    """run.json: what was trained on what, for how long, where. seconds are those of the training loop."""
    forward = flops_per_token(config.model)
    splits = dataset.manifest.splits
    return {
        "name": config.name,
        "version": __version__,
        "parameters": tensors.parameters,
        "parameters_by_role": tensors.parameters_by_role(),
        **asdict(outcome),
        "averaged": averaged,
        "seed": config.train.seed,
        "flops_per_token": forward,
        "training_flops": TRAIN_OVER_FORWARD * forward * outcome.tokens,
        "device": backend.device,
        "precision": backend.precision,
        "notes": backend.notes,
        "data": {
            "name": dataset.manifest.name,
            "folder": str(dataset.folder.resolve()),
            "train_sha256": splits.train.identity,
            "val_sha256": splits.val.identity,
            "tokenizer_sha256": dataset.tokenizer.sha256,
        },
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
