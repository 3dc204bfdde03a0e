"""bytegolf decompress: .golfz -> the text, or a range of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import streams
from bytegolf.cli.output import JSON, Output
from bytegolf.errors import UserError

if TYPE_CHECKING:
    from bytegolf.coding.container import Header
    from bytegolf.coding.model_recipe import ModelRecipe

HELP = """Give back, byte for byte, what `bytegolf compress` was given.

MODEL is the .golf file that compressed it; leave it out when the file holds its model. The file says itself how
the model reads. Every block is checked before it is written: another model, an altered byte and a truncated file
are errors that name the place. A file appears under its name when all of it is right; a pipe gets the blocks
before the damage, and exit code 2.

With --range only the blocks that hold these bytes are decoded.

Example: `bytegolf decompress model.golf book.txt.golfz`

Example: `bytegolf decompress book.txt.golfz -o copy.txt`

Example: `bytegolf decompress model.golf a.golfz --range 2000:2100 -o -`

In a pipe: bytegolf decompress model.golf - < notes.golfz | tar t
"""


def command(
    paths: list[Path] = typer.Argument(
        metavar="[MODEL] INPUT", help="The .golf file, unless INPUT holds it; the .golfz file, - is stdin."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="The file to write; - is stdout.  [default: INPUT without .golfz]"
    ),
    span: str | None = typer.Option(
        None, "--range", metavar="START:END", help="These bytes of the text, END not included."
    ),
    lanes: int = streams.LANES,
    threads: int | None = streams.THREADS,
    force: bool = streams.FORCE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.coding.container import Reader
    from bytegolf.coding.stream import Work, decompress_range

    if len(paths) > 2:
        raise typer.BadParameter(f"decompress takes MODEL and INPUT, or INPUT alone; got {len(paths)} files")
    model, source = (paths[0] if len(paths) == 2 else None), paths[-1]
    start, end = _range(span)
    out = out or _default_output(source, span)
    output = Output(as_json, data_on_stdout=out == streams.STANDARD)
    streams.check_output(out, source, force, as_json)
    work = Work(lanes, threads or streams.usable_cores())
    began = time.perf_counter()
    with streams.damage_in(source), streams.opened(source) as file:
        reader = Reader(file)
        recipe = _recipe(reader.header, model, source)
        length = None if end is None else end - start
        with (
            streams.written(out) as sink,
            streams.bar(output, "decompressing", length) as progress,
        ):
            summary = decompress_range(reader, sink, recipe, start, length, work=work, progress=progress)
    seconds = time.perf_counter() - began
    output.show(
        streams.line(summary, seconds) if length is None else streams.range_line(length, summary, seconds)
    )
    result = {
        "input": str(source),
        "output": str(out),
        "model_sha256": recipe.model.hex(),
        "range": None if end is None else [start, end],
        **streams.facts(summary, seconds),
        "context": recipe.context,
        "stride": recipe.stride,
        "lanes": work.lanes,
        "threads": work.threads,
    }
    output.finish(result)
    return result


def _range(span: str | None) -> tuple[int, int | None]:
    """The bytes of START:END; all of them without one."""
    if span is None:
        return 0, None
    parts = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", span)
    if parts is None or int(parts[1]) > int(parts[2]):
        raise UserError(
            "a range reads START:END, in bytes of the text, START at most END",
            got=repr(span),
            where="--range",
            fix="--range 0:1000 is the first thousand bytes",
        )
    return int(parts[1]), int(parts[2])


def _default_output(source: Path, span: str | None) -> Path:
    if span is not None:
        raise UserError(
            "a range of the text needs a name of its own",
            got="--range without -o",
            fix="give -o, - is stdout",
        )
    if source == streams.STANDARD:
        return streams.STANDARD
    if source.suffix != streams.SUFFIX or source.name == streams.SUFFIX:
        raise UserError(
            f"the name of the output is that of the input without {streams.SUFFIX}",
            got=f"an input named {source.name}",
            fix="give -o the name of the output",
        )
    return source.with_suffix("")


def _recipe(header: Header, model: Path | None, source: Path) -> ModelRecipe:
    """The model that is given, or else the one in the file."""
    from bytegolf.artifact.format import load_bytes
    from bytegolf.coding.block import StreamError
    from bytegolf.coding.model_recipe import ModelRecipe
    from bytegolf.coding.stream import check_model
    from bytegolf.model_file import model_of

    if model is None and header.embedded is None:
        raise StreamError(
            "the file does not hold its model",
            fix=f"give it: bytegolf decompress MODEL.golf {source}; its sha256 begins {header.model.hex()}",
        )
    where = f"the model inside {source}" if model is None else str(model)
    golf = header.embedded if model is None else load_bytes(model)
    assert golf is not None
    model_of(golf, where)  # a damaged model is called that, not another one
    recipe = ModelRecipe(golf, header.context, header.stride, where)
    check_model(header, recipe.model)
    return recipe
