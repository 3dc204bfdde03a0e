"""bytegolf report: one page about a run, or about several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.backends import BACKEND, DEVICE, Place, choose
from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.report.facts import Facts
    from bytegolf.report.view import Strip

NAME = "report.html"

HELP = """Write a page about a run: one HTML file, which loads nothing from anywhere.

It shows the score, what stands behind it and how it came about: training, where the bytes and the bits went, what
packing changed, a held-out passage token by token with what the model expected, other compressors on the same
bytes, the proof and the referee's findings, what else was tried. Of several runs it shows how they compare. What
is missing is named with the command that makes it.

For the passage the packed model runs for a few seconds; the rest is read from the directories of the runs.

Example: `bytegolf report runs/demo`

Example: `bytegolf report runs/a runs/b -o comparison.html`
"""


def command(
    runs: list[Path] = typer.Argument(metavar="RUN", help="Run directories.", show_default=False),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="The file to write.  [default: report.html in the run; of several, here]"
    ),
    title: str = typer.Option("", help="What stands above the page.  [default: the names of the runs]"),
    passage: bool = typer.Option(True, help="Run the packed model on a held-out passage."),
    backend: str = BACKEND,
    device: str = DEVICE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.files import write_atomically
    from bytegolf.report.facts import gather
    from bytegolf.report.page import render
    from bytegolf.report.view import Strip, view_of

    output = Output(as_json)
    paths = list({path.resolve(): path for path in runs}.values())
    names = _names(paths)
    place = choose(output, backend, device) if passage else None
    views = []
    with output.progress("report") as show:
        for number, path in enumerate(paths):

            def tell(stage: str, share: float, number: int = number) -> None:
                show((number + share) / len(paths), f"{names[number]}: {stage}")

            facts = gather(path, names[number], lambda stage: tell(stage, 0.1))
            tell("reading a passage", 0.4)
            strip = _strip(facts, place) if place else Strip(gone="Left out by --no-passage.")
            key = f"r{number}-" if len(paths) > 1 else ""
            views.append(view_of(key, facts, strip, lambda stage: tell(stage, 0.7)))
        page = render(views, title or _named(names)).encode()
    target = out or (paths[0] / NAME if len(paths) == 1 else Path(NAME))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, page)
    output.show(f"report: {target} ({len(page):,} bytes)")
    result = {"report": str(target), "bytes": len(page), "runs": [os.fspath(path) for path in paths]}
    output.finish(result)
    return result


def _names(paths: list[Path]) -> list[str]:
    """The folders' own names; for folders of one name as much of their paths as was given."""
    short = [path.resolve().name for path in paths]
    return [str(path) if short.count(name) > 1 else name for path, name in zip(paths, short, strict=True)]


def _named(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and 3 more`."""
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _strip(facts: Facts, place: Place) -> Strip:
    """The packed model on a passage of the held-out text; or why not."""
    from bytegolf.report.passage import read_passage
    from bytegolf.report.view import Strip, way
    from bytegolf.score.packed import load_packed

    if facts.file is None:
        return Strip(gone="Not packed yet:", command=f"bytegolf pack {facts.run.path}")
    if facts.text is None:
        return Strip(gone=f"There is no held-out text to read: {facts.text_gone}.")
    packed = load_packed(facts.model, place.device, backend=place.backend)
    settings = facts.settings
    found = read_passage(packed.backend, packed.tokenizer, facts.text, settings, facts.document_bpb)
    if found is None:
        return Strip(gone="The held-out text has no document with a byte in it.")
    return Strip(found, packed.backend.device, way(settings))
