"""bytegolf compare: is B better than A, and would it be again?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.record.comparison import Arm, Comparison
    from bytegolf.record.statistics import Test

HELP = """Compare two recipes by the scores of their seeds.

A and B are each a run directory, several of one config with commas between, the folder of a record (of bytegolf
or of anybody in the challenge), or a published result by its name: pr1855, for example; an unknown number lists
those that there are. The gain is the mean of A minus the mean of B, in bits per byte of the same text. Four tests
are made: Welch's t-test, of any gain and of one above --margin, and the same with the spread pooled over both arms
and earlier experience, which is far steadier with three seeds an arm. --prior-sd says what that experience is:
0.00069 bpb, on 46 degrees of freedom, is the spread between seeds of published systems of ten minutes on eight
H100s. Small runs on small texts spread more: measure it with a few seeds of one config, or say `none` for the
spread of these runs alone.

Shown are also the 95 % interval, how many runs would show the gain, what differs between the configs, runs of the
same configs in the ledger that are not in an arm, and the paired bootstrap over the documents of the text.

Example: `bytegolf compare runs/a-1,runs/a-2 runs/b-1,runs/b-2`

Example: `bytegolf compare runs/old runs/new --margin 0.005nats`

Example: `bytegolf compare pr1736 pr1769` (an accepted record that is the same recipe with other seeds)
"""


def command(
    a: str = typer.Argument(help="Run directories with commas between, a record, or a name like pr1855."),
    b: str = typer.Argument(help="The same, of what may be better."),
    margin: str = typer.Option("0.005nats", help="A gain that counts: in nats per token, or in bpb."),
    prior_sd: str = typer.Option("0.00069", help="Spread between seeds by experience, in bpb, or none."),
    prior_df: float = typer.Option(46.0, min=0.0, help="Degrees of freedom that the experience counts for."),
    alpha: float = typer.Option(0.01, min=1e-6, max=0.5, help="What p is small."),
    power: float = typer.Option(0.9, min=0.5, max=0.999, help="How sure the runs still needed should be."),
    text: str | None = typer.Option(
        None, help="How the sha256 of the scored text begins, if there are several."
    ),
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.record.comparison import arm, cautions, compare, conclusions, margin_bpb

    output = Output(as_json)
    left, right = arm(a, text), arm(b, text)
    prior = _prior(prior_sd, prior_df, left, right)
    found = compare(left, right, margin_bpb(margin, right), prior, alpha, power)
    careful, sentences = cautions(left, right, margin), conclusions(found, alpha, power)
    _show(output, found, margin)
    for sentence in (*careful, *sentences):
        output.show(sentence)
    result = found.to_json() | {"cautions": careful, "conclusions": sentences}
    output.finish(result)
    return result


def _prior(words: str, df: float, a: Arm, b: Arm) -> tuple[float, float]:
    from bytegolf.errors import ConfigError

    if words == "none":
        if max(len(a.scores), len(b.scores)) < 2:
            raise ConfigError(
                "without experience the runs must show how seeds spread",
                got="one seed an arm",
                where="--prior-sd none",
                fix="train more seeds, or say what the spread is by --prior-sd",
            )
        return 1.0, 0.0
    try:
        value = float(words)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ConfigError("--prior-sd is a number of bits per byte above 0, or none", got=repr(words))
    return value, df


def _show(output: Output, found: Comparison, margin: str) -> None:
    from bytegolf.record.comparison import shown_text

    output.table(
        ["", "runs", "mean bpb", "sd"],
        [_row("A", found.a), _row("B", found.b)],
    )
    output.show()
    for name, side in (("A", found.a), ("B", found.b)):
        scores = ", ".join(f"{seed}: {score:.5f}" for seed, score in side.scores.items())
        output.show(f"{name} by seed  {scores}")
    size = "" if found.a.text_bytes is None else f", {found.a.text_bytes:,} bytes"
    output.show(f"{shown_text(found.a)}{size}")
    for name, side in (("A", found.a), ("B", found.b)):
        for remark in side.remarks:
            output.show(f"{name}: {remark}")
    output.show()
    output.table(
        ["B gains", "t", "df", "p", "95 % interval of the gain"],
        [
            _test("anything, Welch", found.welch),
            _test(f"above {margin}, Welch", found.welch_margin),
            _test("anything, pooled", found.pooled),
            _test(f"above {margin}, pooled", found.pooled_margin),
        ],
    )
    output.show()
    if found.signs:
        signs = ", ".join(
            f"{seed}: {'lower' if lower else 'not lower'}" for seed, lower in found.signs.items()
        )
        output.show(f"B by seeds of both: {signs}")
    output.show(f"a true gain of {found.detectable:.5f} bpb would be found by so many runs")
    for name, side in (("A", found.a), ("B", found.b)):
        for other in side.others:
            output.show(f"not in {name}: {other}")
    for key, (was, now) in (found.changed or {}).items():
        output.show(f"  {key}: {was} -> {now}")
    output.show()


def _row(name: str, side: Arm) -> list[str]:
    return [f"{name}  {side.name}", str(len(side.scores)), f"{side.mean:.5f}", _spread(side.sd)]


def _spread(sd: float | None) -> str:
    return "" if sd is None else f"{sd:.5f}"


def _test(name: str, test: Test | None) -> list[str]:
    if test is None:
        return [name, "", "", "too few runs", ""]
    low, high = test.interval()
    return [name, f"{test.t:.2f}", f"{test.df:.1f}", f"{test.p:.3g}", f"{low:.5f} to {high:.5f}"]
