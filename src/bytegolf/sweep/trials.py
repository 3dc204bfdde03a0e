"""Spec -> every run that there will be, each with its whole config checked, before the first one starts."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytegolf.config.load import dump_toml, inline_toml, load_config, preset_names, with_overrides
from bytegolf.config.schema import Config
from bytegolf.errors import ConfigError
from bytegolf.model.shrink import shrunk
from bytegolf.sweep.spec import Choices, Random, Range, Spec, Value

DIGITS = 4  # significant ones of a drawn number: enough to tell settings apart, short enough to read


@dataclass(frozen=True)
class Setting:
    """values: what is set beside the base. config: of a run with it, but for the seed."""

    values: dict[str, Value]
    config: Config

    @property
    def identity(self) -> str:
        """The same for the same config, in whatever words it was asked for."""
        return hashlib.sha256(dump_toml(self.config).encode()).hexdigest()[:16]

    def with_seed(self, seed: int) -> Config:
        return with_overrides(self.config, [f"train.seed={seed}"])


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep: every setting with every seed."""

    base: Config
    settings: list[Setting]
    seeds: list[int]

    def runs(self) -> Iterator[tuple[Setting, int]]:
        """A seed after the other, so that a sweep that ends early has compared all settings."""
        for seed in self.seeds:
            for setting in self.settings:
                yield setting, seed


def planned(spec: Spec, where: Path) -> Plan:
    """Raises ConfigError for a base, key or value that is not valid; nothing is trained by then."""
    base = _base(spec, where)
    drawn: list[dict[str, Value]] = [{}] if spec.include_base else []
    drawn += list(_grid(spec) if spec.grid else _draws(spec.random) if spec.random else [])
    settings: dict[str, Setting] = {}
    for values in drawn or [{}]:
        setting = Setting(values, _with(base, values, where))
        same = settings.get(setting.identity)  # 0.02 in a grid may be what the base has anyway
        if same is None or (values and not same.values):
            settings[setting.identity] = setting
    return Plan(base, list(settings.values()), spec.seed_list())


def _base(spec: Spec, where: Path) -> Config:
    source = spec.base
    if source not in preset_names() and (source.endswith(".toml") or "/" in source):
        source = str(where.parent / source)
    try:
        config = load_config(source)
    except ConfigError as error:
        raise ConfigError(error.rule, got=error.got, where=f"{where}: base", fix=error.fix) from None
    fixed = spec.overrides | (spec.budget.overrides() if spec.budget else {})
    return _with(shrunk(config) if spec.shrink else config, fixed, where)


def _with(config: Config, values: Mapping[str, Value], where: Path) -> Config:
    words = [f"{key}={inline_toml(value)}" for key, value in values.items()]
    try:
        return with_overrides(config, words)
    except ConfigError as error:
        place = f"{where}: {', '.join(words)}"
        raise ConfigError(error.rule, got=error.got, where=place, fix=error.fix) from None


def _grid(spec: Spec) -> Iterator[dict[str, Value]]:
    """The first key turns slowest."""
    for combination in itertools.product(*spec.grid.values()):
        yield dict(zip(spec.grid, combination, strict=True))


def _draws(spec: Random) -> Iterator[dict[str, Value]]:
    """Draw after draw from one stream, keys sorted: more trials leave the earlier ones as they are."""
    stream = random.Random(spec.seed)
    for _ in range(spec.trials):
        yield {key: _draw(spec.keys[key], stream.random()) for key in sorted(spec.keys)}


def _draw(space: Range | Choices, share: float) -> Any:
    """share: uniform, 0 <= share < 1."""
    if isinstance(space, Choices):
        return space.choices[int(share * len(space.choices))]
    if isinstance(space.low, int) and isinstance(space.high, int):
        # Each whole number owns the unit around it.
        low, high = space.low - (0.5 if space.log else 0), space.high + (0.5 if space.log else 1)
        value = _between(low, high, share, space.log)
        return min(max(round(value) if space.log else math.floor(value), space.low), space.high)
    value = float(f"{_between(space.low, space.high, share, space.log):.{DIGITS}g}")
    return min(max(value, float(space.low)), float(space.high))


def _between(low: float, high: float, share: float, log: bool) -> float:
    return low * (high / low) ** share if log else low + (high - low) * share
