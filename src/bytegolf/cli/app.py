"""The command tree and the one place where errors become messages and exit codes.

0: done. 2: the user's mistake, one message, no traceback. 130: Ctrl-C. A bug of ours keeps its traceback.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

from bytegolf import __version__
from bytegolf.cli import data, demo, generate, pack, score, train
from bytegolf.errors import UserError

INTERRUPTED = 130

# typer carries its own copy of click, under a private name; its public exceptions lead to the base class.
UsageProblem: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="bytegolf",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train the best language model that fits in a byte budget, pack it into one file, prove its score.\n\n"
    "Start with `bytegolf demo`: it runs the commands below in order and shows each.",
)
app.add_typer(data.app, name="data")
app.command("train", help=train.HELP)(train.command)
app.command("pack", help=pack.HELP)(pack.command)
app.command("score", help=score.HELP)(score.command)
app.command("generate", help=generate.HELP)(generate.command)
app.command("demo", help=demo.HELP)(demo.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bytegolf {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def run(arguments: Sequence[str]) -> Any:
    """One command, as from the shell; returns what the command returns and raises what it raises."""
    return app(list(arguments), standalone_mode=False, prog_name="bytegolf")


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = run(words)
    except UserError as error:
        _complain(error, as_json="--json" in words)
        return 2
    except UsageProblem as error:
        error.show()
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(result, int):  # what click gives for --help, --version and typer.Exit
        return result
    return INTERRUPTED if isinstance(result, dict) and result.get("interrupted") else 0


def _complain(error: UserError, *, as_json: bool) -> None:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        parts = {"rule": error.rule, "got": error.got, "where": error.where, "fix": error.fix}
        print(json.dumps({"error": {k: v if v is None else str(v) for k, v in parts.items()}}))
