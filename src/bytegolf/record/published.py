"""Results that others published, seed by seed: the table that ships with bytegolf, and folders of the challenge.

Nobody here ran them: they are their authors' figures, and the text is the challenge's by their word.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from bytegolf.errors import ConfigError, RunError

_FILE, _FINEWEB = "published.toml", "fineweb"
# Published tokenizers have 2.4 to 3.8 bytes a token. A folder with a bpb under the name of val_loss gives 1.44.
_PLAUSIBLE = (1.5, 20.0)


@dataclass(frozen=True)
class Published:
    """scores: seed -> bits per byte. stated: their mean as published. text: what was scored, in words. date: ""
    where none is known.

    bytes_per_token: of that text by that tokenizer; None where it cannot be told. recipe: two results with the
    same one were made with the same hyperparameters. not_valid: why the score is none by the challenge's rules.
    """

    name: str
    pull_request: int | None
    title: str
    date: str
    track: str
    tokenizer: str
    bytes_per_token: float | None
    text: str
    source: str
    scores: dict[int, float]
    stated: float | None
    recipe: str
    not_valid: str | None
    notes: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader has to know beside the scores: what it is and where the figures are from."""
        pull_request = "" if self.pull_request is None else f"PR {self.pull_request}"
        origin = dict.fromkeys((pull_request, self.date, f"{self.tokenizer} tokenizer", self.source))
        about = f"{self.title} ({', '.join(part for part in origin if part)})"
        return (about, *self.notes)


@cache
def published() -> dict[str, Published]:
    """The table, by name, in the order of the pull requests."""
    texts, tree = _table()
    return {name: _entry(name, facts, texts) for name, facts in tree.items()}


def _table() -> tuple[dict[str, str], dict[str, Any]]:
    tree = tomllib.loads((resources.files("bytegolf.record") / _FILE).read_text(encoding="utf-8"))
    return tree.pop("texts"), tree


def _entry(name: str, facts: dict[str, Any], texts: dict[str, str]) -> Published:
    return Published(
        name,
        facts.get("pull_request"),
        facts["title"],
        facts.get("date", ""),
        facts.get("track", "10min_16mb"),
        facts["tokenizer"],
        facts["bytes_per_token"],
        texts[facts["text"]],
        facts["source"],
        {int(seed): score for seed, score in facts["seeds"].items()},
        facts.get("stated"),
        facts.get("same_recipe_as", name),
        facts.get("not_valid"),
        tuple(facts.get("notes", ())),
    )


def named(words: str) -> Published | None:
    """`pr1855`, `#1855`, `pr1769-all` or `baseline`; None for what reads like no such name.

    Raises ConfigError for the number of a pull request that is not in the table.
    """
    name = re.sub(r"^#", "pr", words.strip()).lower()
    if (found := published().get(name)) is not None:
        return found
    if re.fullmatch(r"pr\d+(-[a-z-]+)?", name) is None or Path(words).exists():
        return None
    raise ConfigError(
        f"no published result {words!r} ships with bytegolf", fix="there are: " + ", ".join(published())
    )


def of_folder(path: Path) -> Published:
    """The submission.json of a folder of the challenge, in any of its shapes: results by seed, as objects or bare
    numbers, under `seed_results` or `seeds`. Raises RunError where there are none.
    """
    file = path / "submission.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        listed = next(facts[key] for key in ("seed_results", "seeds") if isinstance(facts.get(key), dict))
        results = {int(seed): _result(value) for seed, value in listed.items()}
        scores = {seed: float(bpb) for seed, (bpb, _) in results.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise RunError(
            "not the record of bytegolf, and no results by seed in it",
            got=repr(error),
            where=file,
            fix="a folder to compare has seed_results: seed -> val_bpb in submission.json",
        ) from None
    if not scores or not all(0 < bpb < 100 for bpb in scores.values()):
        raise RunError("the results of a record are bits per byte, seed by seed", got=scores, where=file)
    pairs = [*results.values(), (facts.get("val_bpb"), facts.get("val_loss"))]
    return Published(
        str(path),
        None,
        str(facts.get("name", "")),
        str(facts.get("date", "")),
        str(facts.get("track") or "unknown"),
        "unknown",
        next((ratio for bpb, nats in pairs if (ratio := _bytes_per_token(bpb, nats)) is not None), None),
        _table()[0][_FINEWEB],
        str(file),
        scores,
        None,
        str(path.resolve()),
        None,
        ("that it scored the challenge's text is its author's word",),
    )


def _result(value: Any) -> tuple[Any, Any]:
    """(bpb, nats per token or None) of one seed."""
    return (value["val_bpb"], value.get("val_loss")) if isinstance(value, dict) else (value, None)


def _bytes_per_token(bpb: Any, nats: Any) -> float | None:
    """nats / (ln 2 bpb), where both are figures and it can be a tokenizer's."""
    if not all(isinstance(value, int | float) and value > 0 for value in (bpb, nats)):
        return None
    ratio = float(nats) / math.log(2) / float(bpb)
    return ratio if _PLAUSIBLE[0] < ratio < _PLAUSIBLE[1] else None
