"""The command tree and the one place where errors become messages and exit codes.

0: done. 1: done, and what was examined is not valid (`verify`). 2: the user's mistake or the machine's refusal
(a full disk), one message, no traceback. 130: Ctrl-C. 141: the reader of a pipe left, as the shell counts it for
other tools. A bug of ours keeps its traceback.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from bytegolf import __version__
from bytegolf.cli import (
    compare,
    compress,
    data,
    decompress,
    demo,
    generate,
    pack,
    plan,
    presets,
    prove,
    record,
    report,
    runs,
    score,
    sweep,
    train,
    verify,
)
from bytegolf.cli.world import TOGETHER
from bytegolf.errors import ConfigError, UserError
from bytegolf.launch import launched

NOT_VALID = 1
MISTAKE = 2
INTERRUPTED = 130
READER_LEFT = 141

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
app.add_typer(presets.app, name="presets")
app.add_typer(runs.app, name="runs")
app.command("plan", help=plan.HELP)(plan.command)
app.command("train", help=train.HELP)(train.command)
app.command("pack", help=pack.HELP)(pack.command)
app.command("score", help=score.HELP)(score.command)
app.command("verify", help=verify.HELP)(verify.command)
app.command("prove", help=prove.HELP)(prove.command)
app.command("report", help=report.HELP)(report.command)
app.command("compare", help=compare.HELP)(compare.command)
app.command("record", help=record.HELP)(record.command)
app.command("compress", help=compress.HELP)(compress.command)
app.command("decompress", help=decompress.HELP)(decompress.command)
app.command("generate", help=generate.HELP)(generate.command)
app.command("sweep", help=sweep.HELP)(sweep.command)
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
    result = app(list(arguments), standalone_mode=False, prog_name="bytegolf")
    if type(result) is int and result == INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot spell a letter stops nothing
    try:
        _alone_or_made_for_it(words)
        result = run(words)
        sys.stdout.flush()
    except UserError as error:
        return _complain(error, as_json)
    except UsageProblem as error:
        error.show()
        return _as_json(UserError(error.format_message()), as_json)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        _as_json(UserError("interrupted"), as_json)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # rich and typer make the second of the first
        return _reader_left()
    except OSError as error:
        if error.errno is None:  # not the system's answer but, say, a library that does not load
            raise
        return _complain(UserError(f"{error.strerror}", where=error.filename), as_json)
    if isinstance(result, int):  # what click gives for --help, --version and typer.Exit
        return result
    facts = result if isinstance(result, dict) else {}
    if facts.get("verdict") == "fail":
        return NOT_VALID
    return INTERRUPTED if facts.get("interrupted") else 0


def _alone_or_made_for_it(words: list[str]) -> None:
    """Raises UserError when several processes are about to do the same thing at once."""
    size = launched().size
    if size > 1 and words and words[0] not in (*TOGETHER, "--help", "-h", "--version"):
        raise UserError(
            f"of all commands only {' and '.join(TOGETHER)} divide their work over processes",
            got=f"{size} processes for `bytegolf {words[0]}`",
            fix="run it without torchrun",
        )


def _complain(error: UserError, as_json: bool) -> int:
    rank = launched().rank if not isinstance(error, ConfigError) else 0
    if rank:
        print(f"[rank {rank}] error: {error}", file=sys.stderr)
    elif not launched().rank:  # what every process finds wrong with the same words is said once
        print(f"error: {error}", file=sys.stderr)
    return _as_json(error, as_json)


def _as_json(error: UserError, wanted: bool) -> int:
    if wanted:
        parts = {"rule": error.rule, "got": error.got, "where": error.where, "fix": error.fix}
        print(json.dumps({"error": {k: v if v is None else str(v) for k, v in parts.items()}}), flush=True)
    return MISTAKE


def _reader_left() -> int:
    """Nobody reads any more: what Python still holds for either stream goes nowhere, without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
    return READER_LEFT
