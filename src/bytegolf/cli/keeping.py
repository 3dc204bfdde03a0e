"""What `score`, `verify` and `prove` find out is kept in the directory of the run, when the file lies in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bytegolf.cli.output import Output


def keep_beside(artifact: Path, output: Output, write: Callable[[Path], object]) -> None:
    """Call `write` with the run's directory. A place that takes no files is said, and is no error."""
    from bytegolf.train.results import run_of

    if (run := run_of(artifact)) is None:
        return
    try:
        write(run)
    except OSError as error:
        output.tell(f"not kept in {run}: {error.strerror or error}")
