"""bytegolf pack: a run directory -> one .golf file and a ledger of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.backends import BACKEND, DEVICE, choose
from bytegolf.cli.fill import fill_budget, show_filled
from bytegolf.cli.output import CACHE, JSON, Output

if TYPE_CHECKING:
    from bytegolf.artifact.format import Artifact
    from bytegolf.artifact.ledger import Ledger
    from bytegolf.config.schema import Config
    from bytegolf.train.run_dir import Run

HELP = """Quantize and pack a run into one file.

The ledger shows who spent which bytes.

The codecs are those of the run's config; `-o pack.codecs.ROLE=NAME` changes one (fp16, int8, int6, int5, ecsq). A
file larger than the budget is not written: the message says by how much it is over and which changes would fit.

`--fit BYTES` fills the budget instead: every matrix gets the quantization step with which the whole file has just
that size and loses least. What a step costs is measured on some of the run's training text, which takes a minute
or two for a small model; the held-out text is not read.

Example: `bytegolf pack runs/pocket`

Example: `bytegolf pack runs/pocket -o pack.codecs.matrix=int5 --out a.golf`

Example: `bytegolf pack runs/pocket --fit 700000 --out b.golf`
"""


def command(
    run: Path = typer.Argument(help="A run directory."),
    budget: int | None = typer.Option(None, min=1, help="Bytes the file may have.  [default: pack.budget]"),
    fit: int | None = typer.Option(
        None, min=1, metavar="BYTES", help="Choose quantization steps so that the file just fits into BYTES."
    ),
    out: Path | None = typer.Option(None, help="The file.  [default: RUN/model.golf]", show_default=False),
    override: list[str] = typer.Option(
        [], "-o", help="Override a key under pack, e.g. -o pack.codecs.embed=int6"
    ),
    data: str | None = typer.Option(
        None, help="With --fit: the dataset of the run.  [default: where the run had it]", show_default=False
    ),
    calibration_tokens: int | None = typer.Option(
        None, min=1, help="With --fit: training tokens to measure on.  [default: 8192]", show_default=False
    ),
    backend: str = BACKEND,
    device: str = DEVICE,
    cache: Path | None = CACHE,
    tensors: bool = typer.Option(False, "--tensors", help="Show the ledger tensor by tensor."),
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.artifact import format as golf
    from bytegolf.artifact.ledger import ledger
    from bytegolf.train.export import with_pack_overrides
    from bytegolf.train.results import run_of
    from bytegolf.train.run_dir import MODEL, open_run
    from bytegolf.train.run_ledger import noted

    output = Output(as_json)
    path = out or run / MODEL
    _check_options(path, budget, fit, data, calibration_tokens)
    opened = open_run(run)
    limit = budget if fit is None else fit
    config = with_pack_overrides(opened, [*override, *([] if limit is None else [f"pack.budget={limit}"])])
    filled = None
    if fit is not None:
        place = choose(output, backend, device)
        filled = fill_budget(output, opened, config, data, calibration_tokens, place, cache)
    artifact = _export(opened, config) if filled is None else filled.artifact
    golf.write(path, artifact)
    spent = ledger(artifact)
    _show(output, path, spent, config.pack.budget, tensors)
    if filled is not None:
        show_filled(output, filled)
    if run_of(path) is not None:
        noted(path.parent, output.tell, "packed", **_identity(path))
    output.show(f"next: bytegolf score {path}{_data_option(opened.summary['data'])}")
    result = {"artifact": str(path), "budget": config.pack.budget, **spent.to_json(per_tensor=tensors)}
    result |= {} if filled is None else {"fit": filled.to_json()}
    output.finish(result)
    return result


def _identity(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"artifact_bytes": len(content), "artifact_sha256": hashlib.sha256(content).hexdigest()}


def _check_options(
    path: Path, budget: int | None, fit: int | None, data: str | None, calibration_tokens: int | None
) -> None:
    if path.is_dir():
        raise typer.BadParameter(f"--out names the file, and {path} is a folder")
    if fit is not None and budget is not None:
        raise typer.BadParameter("--fit and --budget exclude each other; give one")
    if fit is None and (data is not None or calibration_tokens is not None):
        raise typer.BadParameter(
            "--data and --calibration-tokens serve --fit alone; plain packing reads no text"
        )


def _export(run: Run, config: Config) -> Artifact:
    """The artifact with the codecs of the config. Raises BudgetError, with what would fit, when too large."""
    from bytegolf.artifact.ledger import ledger, suggest, within
    from bytegolf.model.storage import codec_overrides
    from bytegolf.train.export import export, pruned_weights

    artifact, limit = export(run, config), config.pack.budget
    spent = ledger(artifact)
    if limit and spent.total > limit:
        roles = {t.name: t.role for t in artifact.tensors}
        codecs = {str(role): codec for role, codec in config.pack.codecs.items()}
        weights, pinned = pruned_weights(run, config), codec_overrides(config)
        within(spent, limit, suggest(weights, roles, codecs, spent.total, limit, pinned))
    return artifact


def _show(output: Output, path: Path, spent: Ledger, limit: int, per_tensor: bool) -> None:
    output.table(
        ["tensor" if per_tensor else "role", "codec", "bytes", "elements", "bits/weight"],
        _rows(spent, per_tensor),
        title=f"{path}: {spent.total:,} bytes" + (f" of {limit:,}" if limit else ""),
    )


def _data_option(data: dict[str, str]) -> str:
    """How `score` finds the text that the run was trained on; its default needs no words."""
    from bytegolf import registry

    if data["name"] == datasets.DEFAULT_CORPUS:
        return ""
    return f" --data {data['name'] if data['name'] in registry.names('corpus') else data['folder']}"


def _rows(spent: Ledger, per_tensor: bool) -> list[list[str]]:
    """A row per role (or tensor), then what is no weight."""
    weights = spent.tensors if per_tensor else spent.roles
    rows = [
        [row.name, row.codec, _bytes(row.bytes, spent), f"{row.elements:,}", f"{row.bits_per_weight:.2f}"]
        for row in weights
    ]
    for name, size in spent.beside.items():
        rows.append([name, "", _bytes(size, spent), "", ""])
    return rows


def _bytes(size: int, spent: Ledger) -> str:
    return f"{size:,} ({100 * size / spent.total:.1f} %)"
