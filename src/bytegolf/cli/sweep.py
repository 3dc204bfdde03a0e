"""bytegolf sweep: settings times seeds, each trained, packed and scored; what differs, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import datasets
from bytegolf.cli.backends import BACKEND, DEVICE, Place, choose
from bytegolf.cli.output import CACHE, JSON, Output

if TYPE_CHECKING:
    from bytegolf.config.schema import Config
    from bytegolf.sweep.queue import Queue, Row
    from bytegolf.sweep.spec import Spec
    from bytegolf.sweep.summary import Summary
    from bytegolf.sweep.trials import Plan
    from bytegolf.sweep.worker import Ended

HELP = """Compare settings over seeds: train, pack and score each, and say what the difference is worth.

SPEC is a TOML file: a base, and keys of the config with the values to try, as a grid or drawn at random
(docs/sweeps.md). Every key and value is checked before the first run. Each trial is a run directory under the
sweep's folder; one that fails is recorded, and the others go on.

The same command goes on with a sweep that was stopped or killed: finished trials are kept, and one that lost its
worker goes on from its checkpoint. Started several times, here or on machines that share the folder, it divides
the trials among them. More seeds and more values may be added to the spec at any time.

Example: `bytegolf sweep lr.toml`

Example: `bytegolf sweep lr.toml --workers 2 --seconds-total 3600`

Example: `bytegolf sweep lr.toml --show --json`
"""


def command(
    spec: Path = typer.Argument(help="A TOML file, see docs/sweeps.md."),
    out: Path | None = typer.Option(
        None, help="Folder of the sweep.  [default: runs/NAME, or that of the file]", show_default=False
    ),
    seconds_total: float | None = typer.Option(
        None, min=0.0, help="Seconds all runs may take together: none begins that would not end in time."
    ),
    workers: int = typer.Option(1, min=1, help="How many runs at a time, on this machine."),
    backend: str = BACKEND,
    device: str = DEVICE,
    show: bool = typer.Option(False, "--show", help="Train nothing; show what there is so far."),
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.sweep.queue import Queue, require_optuna
    from bytegolf.sweep.spec import OBJECTIVES, read_spec
    from bytegolf.sweep.summary import summarise

    output, read = Output(as_json), read_spec(spec)
    require_optuna()
    folder = out or Path("runs") / str(read.name)
    ended = None
    if show:
        queue = Queue(folder)
    else:
        place = choose(output, backend, device)
        queue = _opened(output, spec, read, folder, cache)
        options = _options(read, spec, place, cache)
        total = read.seconds_total if seconds_total is None else seconds_total
        ended = _work(output, queue, read, options, total, workers)
    objective = queue.about["spec"]["objective"]
    summary = summarise(queue.rows(), objective, OBJECTIVES[objective])
    _show(output, folder, summary, ended)
    result = {"sweep": str(folder), **summary.to_json()}
    if ended is not None:
        result |= {"interrupted": ended.interrupted, "out_of_time": ended.out_of_time}
    if summary.counts["failed"] and not summary.settings:
        result["verdict"] = "fail"
    output.finish(result)
    return result


def _opened(output: Output, where: Path, spec: Spec, folder: Path, cache: Path | None) -> Queue:
    """The queue, after everything that can be checked without training has been."""
    from bytegolf.sweep.queue import Queue
    from bytegolf.sweep.trials import planned
    from bytegolf.train.tracking import Tracking

    Tracking(spec.log, output.tell)
    plan = planned(spec, where)
    data = _checked_data(output, _data(spec, where), plan, cache)
    return Queue.open(folder, spec, plan, data, output.tell)


def _data(spec: Spec, where: Path) -> str:
    from bytegolf import registry

    return spec.data if spec.data in registry.names("corpus") else str(where.parent / spec.data)


def _checked_data(output: Output, data: str, plan: Plan, cache: Path | None) -> dict[str, Any]:
    """What is trained on, by vocabulary. Builds what is not built yet; raises ConfigError where a model and the
    tokenizer do not fit.
    """
    from bytegolf.cli.train import with_bos
    from bytegolf.train.fit import check_trainable, described

    quiet, found = _Quiet(output), {}
    by_vocab: dict[int, list[Config]] = {}
    for setting in plan.settings:
        by_vocab.setdefault(setting.config.model.vocab_size, []).append(setting.config)
    for vocab, configs in by_vocab.items():
        dataset = datasets.find_or_build(output, data, vocab, cache)
        for config in configs:
            check_trainable(with_bos(quiet, config, dataset), dataset)
        facts = described(dataset)
        found[str(vocab)] = {key: value for key, value in facts.items() if key.endswith("sha256")}
    return found


class _Quiet(Output):
    """For a step whose words each run says again."""

    def __init__(self, output: Output) -> None:
        self.__dict__.update(vars(output))

    def tell(self, line: str) -> None:
        pass


def _options(spec: Spec, where: Path, place: Place, cache: Path | None) -> dict[str, Any]:
    """What cli/trial.py is told."""
    return {
        "data": _data(spec, where),
        "backend": place.backend,
        "device": place.device,
        "cache": None if cache is None else str(cache),
        "log": list(spec.log),
        "checkpoint_every": spec.checkpoint_every,
        "unpacked": spec.objective == "unpacked",
    }


def _work(
    output: Output, queue: Queue, spec: Spec, options: dict[str, Any], total: float | None, workers: int
) -> Ended:
    from bytegolf.cli.trial import run_trial
    from bytegolf.sweep.spec import OBJECTIVES
    from bytegolf.sweep.worker import Clock, work

    seconds = queue.about["base"]["train"].get("seconds")
    with _reporting(output) as report:
        return work(
            queue,
            run_trial,
            value=OBJECTIVES[spec.objective],
            clock=Clock(total, seconds),
            workers=workers,
            options=options,
            report=report,
        )


@contextmanager
def _reporting(output: Output) -> Iterator[Callable[[list[Row], str], None]]:
    """A bar over the trials, and a line for each that begins or ends."""
    with output.progress("sweep") as bar:

        def report(rows: list[Row], said: str) -> None:
            ended = sum(row.state in ("done", "failed") for row in rows)
            bar(ended / len(rows), f"{ended} of {len(rows)} runs")
            output.tell(f"[{ended}/{len(rows)}] {said}")

        yield report


def _show(output: Output, folder: Path, summary: Summary, ended: Ended | None) -> None:
    if summary.settings:
        _show_settings(output, summary)
        _show_keys(output, summary)
        _show_doubts(output, summary)
    for name, error in summary.failures.items():
        output.show(f"failed: {name}: {error.splitlines()[0] if error else 'no reason was recorded'}")
    counts = summary.counts
    parts = [f"{number:,} {state}" for state, number in counts.items() if number or state == "done"]
    output.show(f"{folder}: {', '.join(parts)}; {summary.seconds:,.0f} s of runs")
    if ended is not None and ended.out_of_time:
        output.show(
            f"the time is up: {counts['waiting']:,} runs were not begun, for they would not have ended in it"
        )
    if ended is not None and counts["running"] and not ended.interrupted:
        output.show("what runs is another worker's; the same command with --show has the rest later")


def _show_settings(output: Output, summary: Summary) -> None:
    rows = []
    for result in summary.settings:
        words = _words(result.values) + (" (base)" if result.is_base and result.values else "")
        rows.append(
            [
                words + (f" ({result.failed} failed)" if result.failed else ""),
                f"{result.mean:.4f}",
                "" if result.sd is None else f"{result.sd:.4f}",
                str(result.n),
                "" if result.p_holm is None else f"{result.p_holm:.3f}",
                f"{result.bytes:,}",
                str(result.best_seed),
            ]
        )
    unit = "bpb" if summary.objective == "bpb" else "bpb before packing"
    output.columns(["setting", unit, "sd", "n", "p vs base", "bytes", "best seed"], rows)
    output.show()


def _words(values: dict[str, Any]) -> str:
    """Keys by their last two parts, for the width of a terminal; the whole ones are in --json."""
    short = {".".join(key.split(".")[-2:]): value for key, value in values.items()}
    from bytegolf.sweep.queue import described

    return described(short if len(short) == len(values) else values)


def _show_keys(output: Output, summary: Summary) -> None:
    rows = []
    for effect in summary.keys:
        best = min(effect.levels, key=lambda level: effect.levels[level])
        share = "" if effect.share is None else f"{100 * effect.share:.0f} %"
        rho = "" if effect.rho is None else f"{effect.rho:+.2f}"
        rows.append([effect.key, f"{effect.spread:.4f}", share, rho, best])
    if rows:
        output.columns(["key", "spread in bpb", "explains", "rank correlation", "best value"], rows)
        output.show()


def _show_doubts(output: Output, summary: Summary) -> None:
    """What picking the best of many is worth."""
    chosen, best = summary.selection, summary.settings[0]
    if chosen.settings < 2:
        return
    if chosen.luck is None:
        output.show(
            "One seed a setting: nothing says how much of a difference is luck."
            " Add seeds to the spec, and the same command goes on with them."
        )
        return
    output.show(
        f"The best of {chosen.settings} settings looks better than it is. Were all equally good, the best would"
        f" still lie {chosen.luck:.4f} bpb below their mean (sd of a run {chosen.pooled_sd:.4f},"
        f" {chosen.noise_sd:.4f} with setting and seed taken out);"
        f" the winner leads the next by {chosen.lead or 0.0:.4f}."
    )
    if best.p_holm is not None:
        output.show(
            f"The winner against the base: p = {best.p_holm:.3f} (t test paired by seed, two-sided, after Holm)."
        )
    used = sorted({seed for result in summary.settings for seed in result.scores})
    output.show(
        f"Before you believe it, run the winner and the base on fresh seeds: any but {_listed(used)}."
    )


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds[:8])) + (", .." if len(seeds) > 8 else "")
