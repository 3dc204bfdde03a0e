"""What every command prints with: results on stdout, the rest on stderr; with --json one object on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from bytegolf.launch import launched

JSON = typer.Option(False, "--json", help="Print one JSON object on stdout and everything else on stderr.")
# Where a dataset that has a name is built: the one environment variable that bytegolf reads, but for torchrun's.
CACHE = typer.Option(
    None,
    "--cache",
    envvar="BYTEGOLF_CACHE",
    help="Folder of datasets that are named, not given as a folder.  [default: ~/.cache/bytegolf]",
    show_default=False,
)


class Output:
    """`tell` writes a line for the user, `result` the outcome of the command."""

    def __init__(self, as_json: bool, data_on_stdout: bool = False) -> None:
        """data_on_stdout: it is taken, so results go to stderr too."""
        # Here and below: rich takes a while to import, and --help needs none of it.
        from rich.console import Console

        quiet = launched().rank > 0  # of several processes the first one speaks
        self.as_json = as_json and not quiet
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        stderr = as_json or data_on_stdout
        self.results = Console(stderr=stderr, highlight=False, soft_wrap=True, quiet=quiet)

    def tell(self, line: str) -> None:
        self.notes.print(line, markup=False)

    def show(self, line: str = "") -> None:
        self.results.print(line, markup=False)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
        """The first column holds names, the others figures."""
        from rich.table import Table
        from rich.text import Text

        if title is not None:
            self.results.print(Text(title, style="bold"))
        table = Table(box=None, pad_edge=False)
        for i, header in enumerate(headers):
            table.add_column(header, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.results.print(table)

    def columns(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Left-aligned text that is never cut: a terminal that is too narrow wraps it."""
        lines = [headers, *rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
        for line in lines:
            self.show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def finish(self, result: Mapping[str, Any]) -> None:
        """The JSON object, when one is wanted."""
        if self.as_json:
            print(json.dumps(result), flush=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[..., None]]:
        """A bar on a terminal, nothing otherwise. Yields show(share, stage=""): share done, what is being done."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=self.notes,
            transient=True,
            disable=not self.notes.is_terminal,
        ) as bar:
            task = bar.add_task(title, total=1.0)

            def show(share: float, stage: str = "") -> None:
                bar.update(task, completed=share, description=f"{title}: {stage}" if stage else title)

            yield show
