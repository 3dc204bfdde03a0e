"""The page: one HTML file that holds all it shows and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bytegolf import __version__
from bytegolf.config.load import flatten, inline_toml, to_tree
from bytegolf.report import figures
from bytegolf.report.facts import Facts, ledger_of
from bytegolf.report.passage import Passage, Token
from bytegolf.report.view import View, way
from bytegolf.train.attempts import Attempt

_MOST_HEAT = 6  # bits per byte that have the strongest colour
_LEVELS = 10
_MOST_TRIED = 40  # runs of a ledger that are listed beside those of the page


@dataclass(frozen=True)
class Tried:
    """The ledger of a folder. begun: runs in it; same: of a recipe that is shown; omitted: not listed."""

    path: Path
    damage: str
    begun: int
    same: int
    omitted: int
    rows: Sequence[Mapping[str, Any]]


def render(views: Sequence[View], title: str) -> str:
    """The page for one run or several, in their order. The same runs give the same bytes."""
    environment = Environment(
        loader=PackageLoader("bytegolf.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": lambda value: f"{value:,}",
        "signed": _signed,
        "way": way,
        "heat": heat,
        "marked": _marked,
        "guesses": _guesses,
    }
    script = (resources.files("bytegolf.report") / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    every = [view.facts for view in views]
    several = len(views) > 1
    return environment.get_template("page.html.j2").render(
        version=__version__,
        title=title,
        views=views,
        single=not several,
        style=Markup(environment.get_template("style.css.j2").render()),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        most_heat=_MOST_HEAT,
        folders=tried(every),
        overlay=figures.overlay(every, "losses")
        if several and any(len(f.steps["step"]) for f in every)
        else None,
        apart=_apart(every),
        differing=_differing(every),
    )


def tried(every: Sequence[Facts]) -> list[Tried]:
    """What the ledgers beside the runs know, one entry a folder."""
    found = []
    for folder in dict.fromkeys(facts.run.path.resolve().parent for facts in every):
        here = {path.name for facts in every if (path := facts.run.path.resolve()).parent == folder}
        recipes = {facts.recipe for facts in every}
        begun, damage = ledger_of(folder)
        newest = {id(attempt) for attempt in begun[-_MOST_TRIED:]}
        rows = [a for a in begun if id(a) in newest or (a.run in here and not a.replaced)]
        found.append(
            Tried(
                folder,
                damage,
                len(begun),
                sum(attempt.recipe in recipes for attempt in begun),
                len(begun) - len(rows),
                [_attempt(attempt, here) for attempt in rows],
            )
        )
    return found


def _attempt(attempt: Attempt, shown: set[str]) -> dict[str, Any]:
    score = attempt.newest()
    return {
        "run": attempt.run,
        "shown": attempt.run in shown and not attempt.replaced,
        "config": attempt.facts.get("config", ""),
        "recipe": attempt.recipe[:8],
        "seed": attempt.seed,
        "outcome": attempt.outcome + (", replaced" if attempt.replaced else ""),
        "steps": attempt.end.get("steps"),
        "nbytes": attempt.packed["artifact_bytes"] if attempt.packed else None,
        "bpb": score["bpb"] if score else None,
    }


def _apart(every: Sequence[Facts]) -> list[str]:
    """Why scores or losses of these runs cannot be compared."""
    scored = [facts.scoring.facts for facts in every if facts.scoring]
    found = []
    if len({facts["text_sha256"] for facts in scored}) > 1:
        found.append("the runs are scored on different texts")
    if len({json.dumps(facts["score"], sort_keys=True) for facts in scored}) > 1:
        found.append("the runs are scored in different ways")
    if len({facts.run.summary["data"]["tokenizer_sha256"] for facts in every}) > 1:
        found.append("the losses are per token of different tokenizers")
    return found


def _differing(every: Sequence[Facts]) -> dict[str, list[str]]:
    """Keys whose values are not the same in all configs, with the value of each run; empty where it has none.

    Of a packed run it is the file's config, which says how it was packed.
    """
    trees = [flatten(to_tree((facts.file or facts.run).config)) for facts in every]
    keys = sorted({key for tree in trees for key in tree} - {"about"})
    rows = {key: [inline_toml(tree[key]) if key in tree else "" for tree in trees] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


def heat(token: Token) -> int:
    """0 to 9 for the bits of a token over its bytes; one without bytes has the heat of its bits."""
    share = token.bits / max(1, token.nbytes) / _MOST_HEAT
    return min(_LEVELS - 1, int(share * _LEVELS))


def _marked(token: Token) -> Markup:
    """The text of a token, ends of lines and what shows as nothing made visible."""
    if not token.text:
        return Markup("<i>{}</i>").format(token.name)
    return Markup("<i>↵</i>\n").join(escape(line) for line in token.text.split("\n"))


def _guesses(passage: Passage) -> Markup:
    """JSON for the script, safe inside of a script element: no `<` that could end it."""
    rows = [
        [
            token.name,
            round(token.bits, 4),
            token.nbytes,
            [[guess.text, round(guess.p, 6), guess.right] for guess in token.guesses],
        ]
        for token in passage.tokens
    ]
    text = json.dumps(rows, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
