"""Figures as SVG inside a page: in the page's colours and type, with names that a screen reader says."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand-ins: matplotlib needs colours, and the page decides them by its theme. `drawn` puts `var(--NAME)` instead.
_NAMES = ("ink", "soft", "line", "paper", "accent", "bad", "on-role")
ROLES = ("embed", "table", "matrix", "head", "gate", "scalar", "beside")
RUNS = 8  # colours of runs, `run-0` to `run-7`
COLOR = {
    name: f"#0c0d{number:02x}"
    for number, name in enumerate(
        [*_NAMES, *(f"role-{r}" for r in ROLES), *(f"run-{i}" for i in range(RUNS))], 16
    )
}
WIDE, NARROW = 760, 342  # pixels, of a page on a desk and on a phone

Draw = Callable[[Figure, bool], Mapping[str, str] | None]


@dataclass(frozen=True)
class Picture:
    """The same figure twice; the page shows the one that fits."""

    wide: str
    narrow: str


def color_of(role: str) -> str:
    """The stand-in for the colour of a role."""
    return COLOR[f"role-{role if role in ROLES else 'beside'}"]


def picture(name: str, label: str, draw: Draw, heights: tuple[int, int]) -> Picture:
    """Draw for both widths. draw(figure, narrow) may return what to say at the pointer, by the gid of a part.

    name: unlike that of any other figure of the page. label: what the figure shows, in a sentence. heights: in
    pixels, wide and narrow. The same calls give the same bytes.
    """
    return Picture(
        _drawn(f"{name}-w", "w", label, draw, (WIDE, heights[0]), False),
        _drawn(f"{name}-n", "n", label, draw, (NARROW, heights[1]), True),
    )


def _drawn(name: str, css: str, label: str, draw: Draw, size: tuple[int, int], narrow: bool) -> str:
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10.5 if narrow else 11.5,
        "axes.linewidth": 0.8,
        "path.simplify": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": COLOR["line"],
        "axes.labelcolor": COLOR["soft"],
        "axes.labelsize": "medium",
        "axes.titlesize": "medium",
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": COLOR["ink"],
        "axes.titlepad": 10.0,
        "axes.facecolor": "none",
        "text.color": COLOR["ink"],
        "xtick.color": COLOR["line"],
        "ytick.color": COLOR["line"],
        "xtick.labelcolor": COLOR["soft"],
        "ytick.labelcolor": COLOR["soft"],
        "grid.color": COLOR["line"],
        "grid.linewidth": 0.6,
        "figure.facecolor": "none",
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        # 72 points and 72 pixels an inch: sizes in points are pixels of the page.
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        titles = draw(figure, narrow) or {}
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _adapted(buffer.getvalue().decode(), css, label, size, titles)


_LEFT_OUT = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|<style type=\"text/css\">.*?</style>|<defs>\s*</defs>"
    r"|<path d=\"[^\"]*\" style=\"fill: none\"/>",  # backgrounds that nobody sees
    re.DOTALL,
)
_LONG = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font: (bold |700 )?([\d.]+)px [^;\"]*|(font-size: [\d.]+px); font-family: [^;\"]*")


def _adapted(svg: str, css: str, label: str, size: tuple[int, int], titles: Mapping[str, str]) -> str:
    """What matplotlib wrote, without its prologue, fonts, colours, and names of groups."""
    body = _LEFT_OUT.sub("", svg[svg.index("<svg") :].partition(">")[2])
    body = _FONT.sub(_font, body)
    body = re.sub(r"<[^>]*>", lambda tag: _LONG.sub(_rounded, tag[0]), body)  # coordinates, and no labels
    for color_name, stand_in in COLOR.items():
        body = body.replace(stand_in, f"var(--{color_name})")
    for gid, title in titles.items():
        body = body.replace(f'<g id="{gid}">', f"<g><title>{html.escape(title)}</title>")
    body = re.sub(r'<g id="[^"]*"/>', "", re.sub(r'<g id="[^"]*">', "<g>", body))
    body = re.sub(r" transform=\"rotate\(-?0 [^\"]*\"", "", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = re.sub(r"\n(?=[LQCMz\"])", " ", body)
    while (shorter := re.sub(r"<g>\s*</g>\n?", "", body)) != body:
        body = shorter
    head = (
        f'<svg class="{css}" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{html.escape(label)}">'
    )
    return head + body.strip()


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _font(found: re.Match[str]) -> str:
    if found[3]:
        return found[3]
    return f"font-size: {found[2]}px" + ("; font-weight: 600" if found[1] else "")


def light_grid(axes: Axes, axis: str = "y") -> None:
    """Thin lines behind the data, no tick marks."""
    axes.grid(axis="y" if axis == "y" else "x", zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def without(axes: Axes, spines: Iterable[str]) -> None:
    """Hide some of the lines around a plot."""
    for spine in spines:
        axes.spines[spine].set_visible(False)
