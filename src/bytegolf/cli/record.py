"""bytegolf record: finished runs -> the folder of a submission; and whether such a folder agrees with itself."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bytegolf.record.evidence import SeedResult
    from bytegolf.record.submission import Sibling

HELP = """Write the folder of a submission from finished runs, or check one.

RUN is a run directory that was packed and scored; several are the seeds of one config. The folder,
OUT/track_TRACK/DATE_Title/, has README.md, submission.json, a log for each seed in the challenge's line format,
requirements.txt, train_gpt.py (the modules that this config needs, in one file that trains, packs and scores by
itself) and source/, the same modules to read. All figures are read from the runs.

The ledger of the runs' folder knows every run of the same config. Those that were not finished or not scored are
listed in the README as left out; one with a score is left out only with a reason, --leave-out NAME=WHY.

`--check DIR` reads a record and verifies that source/ makes train_gpt.py, that sizes, means and limits are right,
that submission.json follows its schema and the logs say the same. The exit code is then 0, or 1 for a fault.

Example: `bytegolf record runs/a --title Int6 --author Al --github-id al`

Example: `bytegolf record --check records/track_10min_16mb/2026-04-01_Int6`
"""

RUNS = typer.Argument(None, metavar="RUN...", help="Run directories, one a seed.", show_default=False)
LEAVE_OUT = typer.Option(
    [], "--leave-out", metavar="NAME=WHY", help="A run of the config to leave out, and why."
)


def command(
    runs: list[Path] = RUNS,
    title: str | None = typer.Option(None, help="Of the record."),
    author: str | None = typer.Option(None, help="Who submits it."),
    github_id: str | None = typer.Option(None, help="Of the author."),
    track: str = typer.Option("non_record_16mb", help="10min_16mb or non_record_16mb."),
    blurb: str | None = typer.Option(None, help="A sentence or two.  [default: `about` of the config]"),
    text: str | None = typer.Option(
        None, help="How the sha256 of the scored text begins, if there are several."
    ),
    leave_out: list[str] = LEAVE_OUT,
    date: str | None = typer.Option(None, help="YYYY-MM-DD.  [default: today]"),
    out: Path = typer.Option(Path("records"), help="Where the folder goes."),
    force: bool = typer.Option(False, "--force", help="Replace a record of the same name."),
    check: Path | None = typer.Option(None, "--check", metavar="DIR", help="Check this record instead."),
    as_json: bool = JSON,
) -> dict[str, Any]:
    output = Output(as_json)
    if check is not None:
        if runs:
            raise typer.BadParameter("give run directories or --check DIR, one of them")
        return _check(output, check)
    if not runs:
        raise typer.BadParameter("give the run directories, or --check DIR")
    named = {"--title": title, "--author": author, "--github-id": github_id}
    if missing := [name for name, value in named.items() if not value]:
        raise typer.BadParameter(f"a record needs {', '.join(missing)}")
    from bytegolf.record.evidence import gather
    from bytegolf.record.siblings import siblings
    from bytegolf.record.submission import Credits, write_record

    results = gather(runs, text)
    about = blurb or results[0].run.config.about or results[0].run.config.name
    credits = Credits(title or "", author or "", github_id or "", track, _day(date), about)
    left_out = siblings(results, _reasons(leave_out))
    folder = write_record(out, credits, results, left_out, force=force)
    return _finish(output, folder, results, left_out)


def _day(date: str | None) -> str:
    if date is None:
        return dt.datetime.now(dt.UTC).date().isoformat()
    try:
        return dt.date.fromisoformat(date).isoformat()
    except ValueError:
        raise typer.BadParameter(f"--date is YYYY-MM-DD, got {date!r}") from None


def _reasons(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, _, why in pairs if not why.strip()]:
        raise typer.BadParameter(f"--leave-out is NAME=WHY, and {wrong[0]!r} has no reason")
    return {name: why.strip() for name, _, why in pairs}


def _finish(
    output: Output, folder: Path, results: Sequence[SeedResult], left_out: Sequence[Sibling]
) -> dict[str, Any]:
    import json

    from bytegolf.record.submission import JSON as SUBMISSION

    facts: dict[str, Any] = json.loads((folder / SUBMISSION).read_bytes())
    output.table(
        ["seed", "bits per byte", "before packing", "model bytes", "steps", "state"],
        [
            [
                str(r.seed),
                f"{r.bpb:.5f}",
                "" if r.unpacked_bpb is None else f"{r.unpacked_bpb:.5f}",
                f"{r.spent.total:,}",
                f"{r.run.summary['steps']:,}",
                r.state,
            ]
            for r in results
        ],
    )
    output.show()
    spread = facts["val_bpb_std"]
    output.show(
        f"val_bpb {facts['val_bpb']:.5f}"
        + (f", sample standard deviation {spread:.5f}" if spread is not None else "")
    )
    code, model = facts["bytes_code"], facts["bytes_model"]
    output.show(f"code {code:,} + model {model:,} = {code + model:,} bytes of 16,000,000")
    for sibling in left_out:
        output.show(f"left out: {sibling.name}, seed {sibling.seed}: {sibling.why}")
    output.show(f"record: {folder}")
    output.show(f"next: bytegolf record --check {folder}")
    result = {"record": str(folder), **facts}
    output.finish(result)
    return result


def _check(output: Output, folder: Path) -> dict[str, Any]:
    from bytegolf.record.check import check_record

    findings = list(check_record(folder))
    for finding in findings:
        output.show(f"{'pass' if finding.fault is None else 'FAIL'}  {finding.name}")
        if finding.fault is not None:
            output.show(f"      {finding.fault}")
    failed = [finding.name for finding in findings if finding.fault is not None]
    output.show()
    output.show(
        f"NOT CONSISTENT: {len(failed)} of {len(findings)} checks failed"
        if failed
        else "the record agrees with itself"
    )
    result = {
        "record": str(folder),
        "verdict": "fail" if failed else "pass",
        "checks": [finding.to_json() for finding in findings],
    }
    output.finish(result)
    return result
