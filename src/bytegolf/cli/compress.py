"""bytegolf compress: a text -> .golfz, with a packed model."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import configs, streams
from bytegolf.cli.output import JSON, Output
from bytegolf.errors import UserError

if TYPE_CHECKING:
    from bytegolf.coding.model_recipe import ModelRecipe
    from bytegolf.coding.stream import Summary

HELP = """Compress a file without loss, with a packed model.

The model says how likely each token is, and a range coder turns that into bits: about as many as `bytegolf score`
promises. All of it is in whole numbers, so that another machine gets the same text back; `bytegolf decompress`
needs the same .golf file, byte for byte, unless --embed-model puts it into the output.

Any bytes go in, text is what gets small. The input is cut into blocks; each stands for itself, with a checksum,
and one that does not get smaller is stored as it is. Larger blocks compress better, since a block begins without
context. Smaller ones let more lanes and threads work side by side. --context and --stride are those of `bytegolf
score`: what they cost in time there they cost here, and in decompressing.

Example: `bytegolf compress model.golf book.txt`

Example: `bytegolf compress model.golf book.txt -o book.golfz --compare`

Example: `bytegolf compress model.golf - -o - --embed-model`

In a pipe: tar c notes | bytegolf compress model.golf - > notes.golfz
"""


def command(
    model: Path = typer.Argument(help="A .golf file."),
    source: Path = typer.Argument(metavar="INPUT", help="The file to compress; - is stdin."),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="The file to write; - is stdout.  [default: INPUT.golfz, stdout for stdin]"
    ),
    context: int | None = configs.CONTEXT,
    stride: int | None = configs.STRIDE,
    block: int = typer.Option(
        131_072, min=1024, max=16 << 20, help="Most bytes in a block; short texts get smaller ones."
    ),
    lanes: int = streams.LANES,
    threads: int | None = streams.THREADS,
    embed_model: bool = typer.Option(False, "--embed-model", help="Put the model into the output."),
    compare: bool = typer.Option(False, "--compare", help="Try general compressors on the same bytes."),
    force: bool = streams.FORCE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.coding.stream import Work, compress

    out = out or (source if source == streams.STANDARD else source.with_name(source.name + streams.SUFFIX))
    output = Output(as_json, data_on_stdout=out == streams.STANDARD)
    _check_usage(source, out, force, compare, as_json)
    recipe = _recipe(output, model, context, stride)
    work = Work(lanes, threads or streams.usable_cores())
    began = time.perf_counter()
    with (
        streams.opened(source) as text,
        streams.written(out) as sink,
        streams.bar(output, "compressing", streams.size_of(source)) as progress,
    ):
        embed = recipe.golf if embed_model else None
        summary = compress(text, sink, recipe, block=block, embed=embed, work=work, progress=progress)
    seconds = time.perf_counter() - began
    compared = _compare(output, source, summary, len(recipe.golf)) if compare else {}
    output.show(streams.line(summary, seconds))
    result = {
        "input": str(source),
        "output": str(out),
        "model": str(model),
        "model_bytes": len(recipe.golf),
        "model_sha256": recipe.model.hex(),
        **streams.facts(summary, seconds),
        "ideal_bits": summary.bits,
        "context": recipe.context,
        "stride": recipe.stride,
        "block": block,
        "lanes": work.lanes,
        "threads": work.threads,
        "compared": compared,
    }
    output.finish(result)
    return result


def _check_usage(source: Path, out: Path, force: bool, compare: bool, as_json: bool) -> None:
    streams.check_output(out, source, force, as_json)
    if out == streams.STANDARD and sys.stdout.isatty():
        raise UserError(
            "compressed bytes are not for a terminal",
            got="-o -",
            fix="send them into a pipe or a file, or give -o",
        )
    if not compare:
        return
    size = streams.size_of(source)
    if size is None and (source == streams.STANDARD or source.exists()):
        raise UserError("--compare reads the input once more", got=source, fix="give it a file, not a pipe")
    if size == 0:
        raise UserError(
            "--compare needs a text", got="an empty file", where=source, fix="leave --compare away"
        )


def _recipe(output: Output, model: Path, context: int | None, stride: int | None) -> ModelRecipe:
    """The model and how it reads: what its config says about scoring, the options on top."""
    from bytegolf.artifact.format import load_bytes
    from bytegolf.coding.model_recipe import ModelRecipe
    from bytegolf.model_file import model_of

    golf = load_bytes(model)
    settings = configs.score_settings(model_of(golf, model).config, context, stride)
    if settings.adaptation.kind != "none":
        output.tell(f"{model} is scored with test-time training; compression goes without")
    return ModelRecipe(golf, settings.context, settings.stride, str(model))


def _compare(output: Output, source: Path, summary: Summary, model_bytes: int) -> dict[str, Any]:
    from bytegolf.score.baselines import run_plain_baselines

    text = source.read_bytes()
    if len(text) != summary.raw:
        raise UserError("the input changed while it was compressed", where=source, fix="compress it again")
    output.tell("compressing the same bytes with general compressors")
    results = {name: result.to_json() for name, result in run_plain_baselines(text).items()}
    sizes = {name: row["bytes"] for name, row in results.items() if "bytes" in row}
    sizes |= {"this file": summary.file, "this file + model": summary.file + model_bytes}
    for name, row in results.items():
        if "skipped" in row:
            output.tell(f"{name}: {row['skipped']}")
    rows = sorted((size, name) for name, size in sizes.items())
    output.table(
        ["the same bytes by", "bytes", "bits per byte"],
        [[name, f"{size:,}", f"{8 * size / len(text):.4f}"] for size, name in rows],
    )
    return results
