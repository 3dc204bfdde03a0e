"""The figures of a report, each from the facts of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bytegolf.artifact.ledger import Ledger
from bytegolf.report.drawing import COLOR, RUNS, Picture, color_of, light_grid, picture, without
from bytegolf.report.facts import Facts, Series, TensorError
from bytegolf.report.treemap import Box, squarified

MOST_POINTS = 600  # of a line; more steps than this are shown by their range
MOST_DOCUMENTS = 400  # that are shown one by one
_LETTER = 6.4  # pixels of a letter of a label, about


def smoothing_steps(steps: int) -> int:
    """Time constant of the smoothed loss: a fiftieth of the run."""
    return max(1, round(steps / 50))


def smoothed(values: Series, steps: int) -> Series:
    """Exponentially weighted mean with time constant `steps`, its start corrected for what it has not seen."""
    keep = math.exp(-1 / steps)
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(mean / weight)
    return np.array(found)


def training(facts: Facts, name: str) -> Picture:
    """Loss, raw and smoothed, with the held-out scores on the way; below it the learning rate."""
    steps, loss = facts.steps["step"], facts.steps["loss"]
    mean = smoothed(loss, smoothing_steps(len(steps)))
    checks = facts.validations

    def draw(figure: Figure, narrow: bool) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        if len(steps) <= MOST_POINTS:
            top.plot(steps, loss, color=COLOR["accent"], alpha=0.35, linewidth=0.8)
        else:
            low, high, at = _ranges(loss, steps)
            top.fill_between(at, low, high, color=COLOR["accent"], alpha=0.22, linewidth=0)
        top.plot(*_thinned(steps, mean), color=COLOR["accent"], linewidth=1.8)
        top.plot(
            checks["step"],
            checks["nats_per_token"],
            "o-",
            color=COLOR["role-head"],
            markersize=4.5,
            linewidth=0.8,
        )
        top.set_ylabel("nats per token")
        top.set_ylim(*_losses([*loss, *checks["nats_per_token"]], mean))
        light_grid(top)
        if (ratio := facts.bytes_per_token) is not None:
            factor = 1 / (math.log(2) * ratio)
            right = top.secondary_yaxis("right", functions=(lambda y: y * factor, lambda y: y / factor))
            right.set_ylabel("bits per byte", labelpad=6)
            right.spines["right"].set_visible(False)
            right.tick_params(length=0)
        below.plot(*_thinned(steps, facts.steps["lr_multiplier"]), color=COLOR["soft"], linewidth=1.2)
        below.set_ylim(-0.05, 1.1)
        below.set_yticks([0, 1])
        below.set_ylabel("rate")
        below.set_xlabel("step")
        light_grid(below)
        below.xaxis.set_major_locator(MaxNLocator(5 if narrow else 9, integer=True))
        below.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))

    label = (
        f"Training loss over {len(steps):,} steps, smoothed: from {mean[0]:.3f} to {mean[-1]:.3f} nats per token; "
        "below it the learning rate over its peak"
    )
    return picture(name, label, draw, (400, 340))


def _losses(values: Sequence[float], mean: Series) -> tuple[float, float]:
    """Limits that show the whole smoothed curve and leave out single spikes."""
    finite = np.array(values)[np.isfinite(values)]
    low, high = float(finite.min()), max(float(np.quantile(finite, 0.995)), float(mean.max()))
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _thinned(x: Series, y: Series) -> tuple[Series, Series]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    return x[keep], y[keep]


def _ranges(values: Series, x: Series) -> tuple[Series, Series, Series]:
    """The smallest and largest of each of 600 stretches, and where it is."""
    parts = np.array_split(np.arange(len(values)), MOST_POINTS)
    low, high = (np.array([choose(values[part]) for part in parts]) for choose in (np.min, np.max))
    return low, high, np.array([x[part].mean() for part in parts])


def overlay(every: Sequence[Facts], name: str) -> Picture:
    """The smoothed losses of several runs, by tokens and by seconds of training."""

    def draw(figure: Figure, narrow: bool) -> None:
        plots = figure.subplots(*((2, 1) if narrow else (1, 2)), sharey=True)
        for plot, key, label in zip(
            plots, ("tokens", "seconds"), ("tokens trained", "seconds of training"), strict=True
        ):
            curves = [
                (f.steps[key], smoothed(f.steps["loss"], smoothing_steps(len(f.steps["loss"]))))
                for f in every
            ]
            for number, (x, y) in enumerate(curves):
                if len(x):
                    style = ("-", "--", ":")[number // RUNS % 3]
                    plot.plot(*_thinned(x, y), style, color=COLOR[f"run-{number % RUNS}"], linewidth=1.6)
            plot.set_xlabel(label)
            plot.xaxis.set_major_locator(MaxNLocator(4))
            plot.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
            light_grid(plot)
        plots[0].set_ylabel("nats per token")
        if narrow:
            plots[1].set_ylabel("nats per token")

    return picture(
        name, f"Smoothed training losses of {len(every)} runs, by tokens and by seconds", draw, (320, 520)
    )


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def byte_map(spent: Ledger, roles: Mapping[str, str], name: str) -> Picture:
    """Every byte of the file once: roles, in them tensors, and a box for what is no weight. roles: by tensor."""
    groups = {
        row.name: [(t.name, t.bytes) for t in spent.tensors if roles[t.name] == row.name]
        for row in spent.roles
    }
    groups["beside"] = list(spent.beside.items())

    def draw(figure: Figure, narrow: bool) -> dict[str, str]:
        figure.set_layout_engine("none")
        width, height = figure.get_size_inches() * 72
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        titles: dict[str, str] = {}
        boxes = squarified([sum(n for _, n in rows) for rows in groups.values()], Box(0, 0, width, height))
        for (role, rows), outer in zip(groups.items(), boxes, strict=True):
            if not sum(n for _, n in rows):
                continue
            for (tensor, nbytes), box in zip(rows, squarified([n for _, n in rows], outer), strict=True):
                gid = f"cell-{len(titles)}"
                _cell(axes, box, role, tensor, nbytes, gid)
                titles[gid] = (
                    f"{tensor}: {nbytes:,} bytes, {role}"
                    if role != "beside"
                    else f"{tensor}: {nbytes:,} bytes"
                )
        return titles

    parts = ", ".join(f"{role} {sum(n for _, n in rows):,}" for role, rows in groups.items())
    return picture(name, f"Treemap of the {spent.total:,} bytes of the file: {parts}", draw, (330, 330))


def _cell(axes: Axes, box: Box, role: str, tensor: str, nbytes: int, gid: str) -> None:
    if not box.width or not box.height:
        return
    axes.add_patch(
        Rectangle(
            (box.x, box.y),
            box.width,
            box.height,
            color=color_of(role),
            ec=COLOR["paper"],
            linewidth=1.2,
            gid=gid,
        )
    )
    # The longest way to say it that fits.
    short = re.sub(r"^(?:blocks|layers)\.", "", tensor)
    for text in (tensor, short, re.sub(r"^(\d+)\..*?(\w+)$", r"\1.\2", short)):
        if len(text) * _LETTER + 12 <= box.width and box.height >= 20:
            axes.text(box.x + 6, box.y + 6, text, color=COLOR["on-role"], va="top", ha="left")
            if box.height >= 38 and len(f"{nbytes:,} bytes") * _LETTER + 12 <= box.width:
                axes.text(
                    box.x + 6, box.y + 21, f"{nbytes:,} bytes", color=COLOR["on-role"], va="top", ha="left"
                )
            return


def quantization(errors: Sequence[TensorError], name: str) -> Picture:
    """A dot a tensor: how far packing moved it. Tensors of one name in several layers share a line."""
    lines: dict[str, list[TensorError]] = {}
    for one in errors:
        lines.setdefault(_without_layer(one.name), []).append(one)

    def draw(figure: Figure, narrow: bool) -> dict[str, str]:
        axes = figure.add_subplot()
        titles: dict[str, str] = {}
        for number, members in enumerate(lines.values()):
            for one in members:
                gid = f"dot-{len(titles)}"
                axes.plot(
                    [100 * one.error], [number], "o", color=color_of(one.role), markersize=6.5, alpha=0.75,
                    markeredgewidth=0, gid=gid,
                )  # fmt: skip
                titles[gid] = f"{one.name}: {100 * one.error:.3f} %, {one.codec}"
        axes.set_yticks(range(len(lines)), [_fitting(n, 22 if narrow else 40) for n in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, -0.02 * 100 * max(one.error for one in errors)))
        axes.set_xlabel("error, % of the tensor's norm" if narrow else "L2 error, % of the tensor's L2 norm")
        without(axes, ("left",))
        light_grid(axes, "x")
        return titles

    worst = max(errors, key=lambda one: one.error)
    label = (
        f"Relative quantization error of {len(errors)} tensors; "
        f"the largest is {100 * worst.error:.2f} % of {worst.name}"
    )
    return picture(name, label, draw, (60 + 22 * len(lines),) * 2)


def _without_layer(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def _fitting(name: str, letters: int) -> str:
    return name if len(name) <= letters else "…" + name[-letters + 1 :]


def bits_by_place(facts: Facts, name: str) -> Picture:
    """Bits per byte of every document, and by how much a token could see."""
    assert facts.scoring is not None
    arrays, whole = facts.scoring.arrays, float(facts.scoring.facts["bpb"])
    bpb, sizes = facts.document_bpb, arrays["document_bytes"]
    good = np.isfinite(bpb)

    def draw(figure: Figure, narrow: bool) -> dict[str, str]:
        left, right = figure.subplots(*((2, 1) if narrow else (1, 2)))
        titles: dict[str, str] = {}
        left.set_title("By document")
        if good.sum() <= MOST_DOCUMENTS:
            for number in np.flatnonzero(good).tolist():
                gid = f"document-{number}"
                left.plot(
                    [sizes[number]], [bpb[number]], "o", color=COLOR["accent"], alpha=0.6, markersize=5.5,
                    markeredgewidth=0, gid=gid,
                )  # fmt: skip
                titles[gid] = f"document {number}: {bpb[number]:.4f} bits per byte, {sizes[number]:,} bytes"
            left.set_xscale("log")
            narrow_range = sizes[good].max() < 100 * sizes[good].min()
            left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow_range else (1,)))
            left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
            left.xaxis.set_minor_formatter(NullFormatter())
            left.set_xlabel("bytes of the document")
            left.set_ylabel("bits per byte")
            left.axhline(whole, color=COLOR["ink"], linewidth=1, linestyle=(0, (4, 3)))
        else:
            left.hist(
                np.clip(bpb[good], *np.quantile(bpb[good], [0.001, 0.999])),
                60,
                color=COLOR["accent"],
                alpha=0.6,
            )
            left.set_xlabel("bits per byte")
            left.set_ylabel("documents")
            left.axvline(whole, color=COLOR["ink"], linewidth=1, linestyle=(0, (4, 3)))
        light_grid(left)
        _by_seen(right, arrays, whole)
        return titles

    label = (
        f"Bits per byte of {int(good.sum()):,} documents, from {bpb[good].min():.3f} to {bpb[good].max():.3f} "
        f"around {whole:.3f} of the whole text; and by how many tokens were seen before"
    )
    return picture(name, label, draw, (300, 540))


def _by_seen(axes: Axes, arrays: Mapping[str, Series], whole: float) -> None:
    nats, n_bytes = arrays["seen_nats"], arrays["seen_bytes"]
    some = np.flatnonzero(n_bytes)
    share = n_bytes[some] / n_bytes.sum()
    axes.plot(some, nats[some] / (math.log(2) * n_bytes[some]), color=COLOR["accent"], linewidth=1.2)
    axes.scatter(
        some,
        nats[some] / (math.log(2) * n_bytes[some]),
        s=10 + 400 * share,
        color=COLOR["accent"],
        linewidths=0,
        zorder=3,
    )
    axes.axhline(whole, color=COLOR["ink"], linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title("By tokens seen before")
    axes.set_xlabel("tokens, powers of two")
    axes.set_ylabel("bits per byte")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{2 ** round(k):,}" if k >= 0 else ""))
    light_grid(axes)
