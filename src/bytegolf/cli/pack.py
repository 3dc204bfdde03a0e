"""bytegolf pack: a run directory -> one .golf file and a ledger of its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.artifact.ledger import Ledger

HELP = """Quantize and pack a run into one file.

The ledger shows who spent which bytes.

The codecs are those of the run's config; `-o pack.codecs.ROLE=NAME` changes one (fp16, int8, int6, int5). A file
larger than the budget is not written: the message says by how much it is over and which changes would fit.

Example: `bytegolf pack runs/pocket`

Example: `bytegolf pack runs/pocket -o pack.codecs.matrix=int5 --out a.golf`
"""


def command(
    run: Path = typer.Argument(help="A run directory."),
    budget: int | None = typer.Option(None, min=1, help="Bytes the file may have.  [default: pack.budget]"),
    out: Path | None = typer.Option(None, help="The file.  [default: RUN/model.golf]", show_default=False),
    override: list[str] = typer.Option(
        [], "-o", help="Override a key under pack, e.g. -o pack.codecs.embed=int6"
    ),
    tensors: bool = typer.Option(False, "--tensors", help="Show the ledger tensor by tensor."),
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.artifact import format as golf
    from bytegolf.artifact.ledger import ledger, suggest, within
    from bytegolf.model.storage import codec_overrides
    from bytegolf.train.export import export, pruned_weights, with_pack_overrides
    from bytegolf.train.run_dir import open_run

    output = Output(as_json)
    path = out or run / "model.golf"
    if path.is_dir():
        raise typer.BadParameter(f"--out names the file, and {path} is a folder")
    opened = open_run(run)
    extra = [] if budget is None else [f"pack.budget={budget}"]
    config = with_pack_overrides(opened, [*override, *extra])
    artifact = export(opened, config)
    spent = ledger(artifact)
    limit = config.pack.budget
    if limit and spent.total > limit:
        roles = {t.name: t.role for t in artifact.tensors}
        codecs = {str(role): codec for role, codec in config.pack.codecs.items()}
        weights, pinned = pruned_weights(opened, config), codec_overrides(config)
        within(spent, limit, suggest(weights, roles, codecs, spent.total, limit, pinned))
    golf.write(path, artifact)
    output.table(
        ["role" if not tensors else "tensor", "codec", "bytes", "elements", "bits/weight"],
        _rows(spent, tensors),
        title=f"{path}: {spent.total:,} bytes" + (f" of {limit:,}" if limit else ""),
    )
    output.show(f"next: bytegolf score {path}{_data_option(opened.summary['data'])}")
    result = {"artifact": str(path), "budget": limit, **spent.to_json(per_tensor=tensors)}
    output.finish(result)
    return result


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
    for name, size in (("tokenizer", spent.tokenizer), ("header", spent.header), ("checksums", spent.fixed)):
        rows.append([name, "", _bytes(size, spent), "", ""])
    return rows


def _bytes(size: int, spent: Ledger) -> str:
    return f"{size:,} ({100 * size / spent.total:.1f} %)"
