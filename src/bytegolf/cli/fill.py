"""The part of `bytegolf pack --fit` that finds the run's text, measures on it, and says what came of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytegolf.cli import datasets
from bytegolf.cli.backends import Place
from bytegolf.cli.output import Output

if TYPE_CHECKING:
    from bytegolf.config.schema import Config
    from bytegolf.data.dataset import Dataset
    from bytegolf.train.fill import Filled
    from bytegolf.train.run_dir import Run


def fill_budget(
    output: Output,
    run: Run,
    config: Config,
    data: str | None,
    calibration_tokens: int | None,
    place: Place,
    cache: Path | None,
) -> Filled:
    """Pack into config.pack.budget bytes. Raises DataError when `data` is not what the run was trained on."""
    from bytegolf import registry
    from bytegolf.train.export import provenance
    from bytegolf.train.fill import CALIBRATION_TOKENS, calibration_rows, fill

    provenance(run.summary)  # refuses a run.json that is none before it costs a measurement
    source = data or _recorded(run.summary["data"])
    dataset = datasets.find_or_build(output, source, config.model.vocab_size, cache)
    _check_same_text(dataset, run)
    rows = calibration_rows(config, dataset.train_stream(), calibration_tokens or CALIBRATION_TOKENS)
    backend = registry.lookup("backend", place.backend)(config.model, device=place.device)
    with output.progress("measuring what steps cost") as report:
        return fill(run, config, backend, rows, report)


def show_filled(output: Output, filled: Filled) -> None:
    """What packing cost on the calibration tokens, and whether bytes were left over."""
    cost = filled.nats_after - filled.nats_before
    output.show(
        f"cost of packing on {filled.tokens:,} training tokens: {cost:+.5f} nats per token "
        f"({filled.nats_before:.4f} before)"
    )
    if filled.finest:
        output.show(
            "every matrix has its finest step: more bytes would not help, and the file is smaller than --fit"
        )


def _recorded(data: dict[str, Any]) -> str:
    """Where the run had its text: the folder while it is there, else the name that the corpus goes by."""
    from bytegolf.data.manifest import MANIFEST

    return str(data["folder"]) if (Path(data["folder"]) / MANIFEST).is_file() else str(data["name"])


def _check_same_text(dataset: Dataset, run: Run) -> None:
    from bytegolf.errors import DataError

    parts = {
        "training text": (dataset.manifest.splits.train.identity, run.summary["data"]["train_sha256"]),
        "tokenizer": (dataset.tokenizer.sha256, hashlib.sha256(run.tokenizer).hexdigest()),
    }
    for part, (found, wanted) in parts.items():
        if found != wanted:
            raise DataError(
                f"--fit measures on the {part} that the run was trained with, sha256 {wanted[:12]}",
                got=f"{found[:12]}",
                where=dataset.folder,
                fix="pass the --data that the run was trained on",
            )
