"""bytegolf plan: what a preset will cost in bytes and time, before it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.backends import BACKEND, DEVICE, choose
from bytegolf.cli.configs import CONFIG, OVERRIDE, SHRINK, load
from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.train.plan import Plan
    from bytegolf.train.proposals import Proposal

HELP = """Predict the bytes and the time of a training before it is run, and name settings that fit the budget.

The bytes follow from shapes and codecs: how many bits a normally distributed weight takes, corrected by what was
measured on trained models; the range covers every training measured. The time follows from a few real steps on
random tokens on this machine: 10 to 20 s, or as long as one step takes; --no-probe leaves them out. Nothing is
trained or written, and a budget that is missed is an answer, not an error. Each proposal is an option that `plan`
and `train` take.

Example: `bytegolf plan pocket`

Example: `bytegolf plan pr354-mla --no-probe`

Example: `bytegolf plan pocket -o model.dim=192 --seconds 600`
"""


def command(
    config: str = CONFIG,
    override: list[str] = OVERRIDE,
    budget: int | None = typer.Option(None, min=1, help="Bytes the file may have.  [default: pack.budget]"),
    seconds: float | None = typer.Option(
        None, min=0.001, help="Train for so many seconds.  [default: the preset's budget]"
    ),
    probe: bool = typer.Option(True, help="Measure the speed of this machine."),
    backend: str = BACKEND,
    device: str = DEVICE,
    shrink: bool = SHRINK,
    as_json: bool = JSON,
) -> dict[str, Any]:
    output = Output(as_json)
    extra = [] if budget is None else [f"pack.budget={budget}"]
    extra += [] if seconds is None else [f"train.seconds={seconds}"]
    resolved = load(config, [*override, *extra], shrink)

    from bytegolf.model.storage import codec_overrides
    from bytegolf.train import probe as timing
    from bytegolf.train.plan import make_plan
    from bytegolf.train.proposals import propose

    codec_overrides(resolved)  # a config that cannot be packed is refused before time is spent
    measured = None
    if probe:
        place = choose(output, backend, device)
        measured = timing.probe(resolved, place.device, place.backend, announce=output.tell)
    made = make_plan(resolved, measured)
    proposals = propose(resolved, made.budget, made.extent.steps) if made.budget else []
    _show_bytes(output, made)
    _show_time(output, made)
    _show_proposals(output, made, proposals)
    result = {**made.to_json(), "proposals": [proposal.to_json() for proposal in proposals]}
    output.finish(result)
    return result


def _show_bytes(output: Output, plan: Plan) -> None:
    prediction, limit = plan.prediction, plan.budget
    rows = [
        [
            row.name,
            row.codec,
            f"{row.bytes:,}",
            _range(prediction.low[row.name], prediction.high[row.name], row.bytes),
            f"{row.elements:,}",
            f"{row.bits_per_weight:.2f}",
        ]
        for row in prediction.expected.roles
    ]
    for name, size in prediction.expected.beside.items():
        rows.append([name, "", f"{size:,}", "", "", ""])
    low, high = prediction.interval
    rows.append(
        [
            "total",
            "",
            f"{prediction.total:,}",
            _range(low, high, prediction.total),
            f"{plan.parameters:,}",
            "",
        ]
    )
    title = f"{plan.config.name}: about {prediction.total:,} bytes" + (f" of {limit:,}" if limit else "")
    output.table(["role", "codec", "bytes", "range", "elements", "bits/weight"], rows, title=title)
    output.show(f"by the law of normal weights alone: {prediction.gaussian.total:,} bytes")
    if plan.dead:
        output.show(f"dead: {plan.dead:,} parameters never get a gradient")
    if not limit:
        output.show("no budget: pass --budget BYTES to see what is left or missed")
    elif plan.left < 0:
        output.show(f"MISSES the budget by {-plan.left:,} bytes ({-100 * plan.left / limit:.1f} %)")
    else:
        output.show(f"fits: {plan.left:,} bytes of the budget left ({100 * plan.left / limit:.1f} %)")
    if limit and plan.left >= 0 and high > limit:
        output.show(f"but the upper end of the range, {high:,} bytes, does not fit")


def _range(low: int, high: int, size: int) -> str:
    """The interval in percent of what is expected."""
    return f"{100 * (low / size - 1):+.1f} {100 * (high / size - 1):+.1f} %" if size else ""


def _show_time(output: Output, plan: Plan) -> None:
    train, reach = plan.config.train, plan.extent
    output.show()
    output.show(f"{plan.flops_per_token:,} operations per token forward, three times that in training")
    if plan.probe is not None:
        probe, tokens = plan.probe, train.rows * plan.config.model.context
        output.show(
            f"{probe.tokens_per_second:,.0f} tokens/s on {probe.device} in {probe.precision}: "
            f"{probe.measured} timed, {probe.seconds_per_step:,.2f} s for a step of {tokens:,} tokens"
        )
    parts = [f"{reach.seconds:,.0f} s"] if reach.seconds is not None else []
    if reach.steps is not None and reach.tokens is not None:
        parts += [
            f"{reach.steps:,} steps",
            f"{reach.tokens:,} tokens",
            f"{plan.training_flops:.3g} operations",
        ]
    output.show("training: " + ", ".join(parts) + ("" if plan.probe else "; the speed was not measured"))


def _show_proposals(output: Output, plan: Plan, proposals: list[Proposal]) -> None:
    if plan.fit_bits is not None:
        output.show()
        if plan.fit_bits > 0:
            output.show(
                f"`bytegolf pack RUN --fit {plan.budget}` would have {plan.fit_bits:.2f} bits a weight to spend"
            )
        else:
            output.show("what is not weights alone is larger than the budget: no quantization fits")
    if proposals:
        output.show("to fit the budget, one of:" if plan.left < 0 else "to fill what is left, one of:")
        for proposal in proposals:
            note = "" if proposal.fits else "  (still too large)"
            output.show(f"  {proposal.total:>12,} bytes  {proposal.options}{note}")
    elif plan.left < 0:
        output.show("no single change fits: train a smaller model or raise the budget")
