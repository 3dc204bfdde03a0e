"""Settings near a config that fill a byte budget: other codecs, other sizes; each one resolved and predicted."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bytegolf import registry
from bytegolf.artifact.ledger import choices
from bytegolf.codec import base
from bytegolf.config.load import inline_toml, to_tree, with_overrides
from bytegolf.config.schema import Config
from bytegolf.errors import UserError
from bytegolf.model.spec import manifest
from bytegolf.train.plan import predicted_ledger

MUCH_LEFT = 0.02  # of the budget; with less left there is nothing to propose
_GROWTH = 16  # a size is looked for up to so many times the present one

Size = Callable[[int], list[str]]  # a value of one size -> the overrides that set it


@dataclass(frozen=True)
class Proposal:
    """overrides: what `-o` takes. total: predicted bytes of the whole file with them. fits: total <= budget."""

    what: str
    overrides: tuple[str, ...]
    total: int
    fits: bool

    @property
    def options(self) -> str:
        """As a shell takes it."""
        return " ".join(f"-o {shlex.quote(override)}" for override in self.overrides)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"options": self.options}


def propose(config: Config, budget: int, steps: int | None = None) -> list[Proposal]:
    """Changes that bring the file just under `budget` bytes; none when it fits and little is left.

    Too large: codecs of one role or of two, nearest to the budget first (when none suffices, the smallest codec of
    every role, marked as not fitting if so), and for each size of the model the largest value that fits. Much
    left: for each size the largest value that still fits. `steps` as in `plan.predicted`. Cost: some seconds.
    """
    total = predicted_ledger(config, steps).total
    if total <= budget * (1 - MUCH_LEFT) or total > budget:
        found = list(_codecs(config, budget, total, steps)) if total > budget else []
        return found + list(_sizes(config, budget, total, steps))
    return []


def _codecs(config: Config, budget: int, total: int, steps: int | None) -> Iterator[Proposal]:
    """As `artifact.ledger.suggest`, on predicted bytes. Tensors under `pack.overrides` keep their codec."""
    roles: list[str] = list(dict.fromkeys(t.role for t in manifest(config.model).tensors))
    proposed = [name for name in registry.names("codec") if not base.get(name).flawed]
    now = {str(role): codec for role, codec in config.pack.codecs.items()}

    def growth(role: str, codec: str) -> int:
        changed = with_overrides(config, _codec_overrides((role, codec)))
        return predicted_ledger(changed, steps).total - total

    changes = {r: {c: growth(r, c) for c in proposed if c != now[r]} for r in roles}
    for choice, _ in choices(changes, total, budget):
        overrides = [text for option in choice for text in _codec_overrides(option)]
        after = predicted_ledger(with_overrides(config, overrides), steps).total
        yield Proposal("codec", tuple(overrides), after, after <= budget)


def _codec_overrides(option: tuple[str, str]) -> list[str]:
    return [f"pack.codecs.{option[0]}={option[1]}"]


def _sizes(config: Config, budget: int, total: int, steps: int | None) -> Iterator[Proposal]:
    for what, now, grid, size in _knobs(config):
        after: dict[int, int | None] = {}

        def fits(value: int, size: Size = size, after: dict[int, int | None] = after) -> bool:
            if value not in after:
                after[value] = _total(config, size(value), steps)
            found = after[value]
            return found is not None and found <= budget

        best = _largest(fits, grid, now if total > budget else now * _GROWTH)
        reached = after.get(best)
        if best and best != now and reached is not None and (best > now) == (total <= budget):
            yield Proposal(what, tuple(size(best)), reached, True)


def _knobs(config: Config) -> Iterator[tuple[str, int, int, Size]]:
    """(name, present value, grid, overrides for a value) of each size of the model."""
    model = config.model
    hidden = getattr(model.mlp, "hidden", None)
    if hidden is not None:
        yield "mlp.hidden", hidden, 8, lambda value: [f"model.mlp.hidden={value}"]
    yield "layers", model.layers, 1, lambda value: [f"model.layers={value}"]
    mixers = to_tree(config)["model"]["embed"]["mixers"]
    for index, mixer in enumerate(mixers):
        if "buckets" in mixer:

            def resized(value: int, index: int = index) -> list[str]:
                changed = [m | ({"buckets": value} if i == index else {}) for i, m in enumerate(mixers)]
                return [f"model.embed.mixers={inline_toml(changed)}"]

            yield "buckets", mixer["buckets"], 256, resized
    heads = getattr(model.attention, "heads", 1)
    yield "dim", model.dim, math.lcm(8, 2 * heads), lambda value: [f"model.dim={value}"]


def _largest(fits: Callable[[int], bool], grid: int, most: int) -> int:
    """The largest multiple of `grid` up to `most` that fits, by bisection; 0: none. Bytes rise with each size."""
    low, high = 0, most // grid
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * grid) else (low, middle - 1)
    return low * grid


def _total(config: Config, overrides: list[str], steps: int | None) -> int | None:
    """Predicted bytes with these overrides; None where they make no valid config."""
    try:
        return predicted_ledger(with_overrides(config, overrides), steps).total
    except UserError:
        return None
