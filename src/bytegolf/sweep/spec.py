"""SPEC.toml: what a sweep compares, as frozen data."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bytegolf.config.schema import BUDGETS, Frozen
from bytegolf.errors import ConfigError, did_you_mean

Seed = Annotated[int, Field(ge=0, lt=1 << 64)]
Value = bool | int | float | str | list[Any] | dict[str, Any]  # of a key of the config
Number = int | float
OBJECTIVES = {"bpb": "bpb", "unpacked": "unpacked_bpb"}  # objective -> where a trial's facts have it


class Range(Frozen):
    """low <= value <= high, uniform, or uniform in its logarithm. Whole numbers when both ends are."""

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _a_range(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low > 0, got {self.low}")
        return self


class Choices(Frozen):
    """One of these, each as likely as the other."""

    choices: Annotated[tuple[Value, ...], Field(min_length=1)]


class Random(Frozen):
    """`trials` settings, each key drawn on its own. The same seed draws the same; more trials are appended."""

    trials: int = Field(ge=1, le=100_000)
    seed: Seed = 1
    keys: Annotated[dict[str, Range | Choices], Field(min_length=1)]

    @field_validator("keys", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        def is_space(node: Any) -> bool:
            return not isinstance(node, dict) or bool(node.keys() & {"low", "high", "choices"})

        return dotted(value, is_space)

    @field_validator("keys")
    @classmethod
    def _not_the_seed(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _without_seed(value)


class RunBudget(Frozen):
    """How long each run trains: one of three, as in the config."""

    seconds: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one(self) -> RunBudget:
        if sum(getattr(self, key) is not None for key in BUDGETS) != 1:
            raise ValueError("exactly one of seconds, steps, tokens must be set")
        return self

    def overrides(self) -> dict[str, Value]:
        return {f"train.{key}": value for key in BUDGETS if (value := getattr(self, key)) is not None}


class Spec(Frozen):
    """A sweep: settings (of a grid, or drawn) times seeds, on one base and one dataset.

    base, data: as for `bytegolf train`; paths are relative to the file of the spec. overrides: keys that are the
    same in every run. seeds: a list, or how many (1, 2, ..). include_base: the base itself is one more setting,
    the one that others are compared with. objective: bits per byte of the packed file, or of the weights before
    packing. seconds_total: seconds that all runs together may take, on whatever number of workers.
    """

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: str
    data: str = "stdlib"
    shrink: bool = False
    overrides: dict[str, Value] = {}
    budget: RunBudget | None = None
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[tuple[Seed, ...], Field(min_length=1)] = 3
    grid: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = {}
    random: Random | None = None
    include_base: bool = True
    objective: Literal["bpb", "unpacked"] = "bpb"
    seconds_total: float | None = Field(None, gt=0)
    checkpoint_every: float = Field(60.0, ge=0)
    log: tuple[str, ...] = ()

    @field_validator("overrides", "grid", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        return dotted(value, lambda node: not isinstance(node, dict))

    @field_validator("overrides", "grid")
    @classmethod
    def _not_the_seed(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _without_seed(value)

    @model_validator(mode="after")
    def _one_way(self) -> Spec:
        if self.grid and self.random is not None:
            raise ValueError("grid and random exclude each other; give one")
        if len(set(self.seed_list())) < len(self.seed_list()):
            raise ValueError("seeds must differ from each other")
        return self

    def seed_list(self) -> list[int]:
        return list(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else list(self.seeds)


def dotted(tree: Any, is_leaf: Callable[[Any], bool], prefix: str = "") -> Any:
    """{"a": {"b": leaf}} -> {"a.b": leaf}: TOML's `"a.b" =` and `a.b =` mean the same key here."""
    if not isinstance(tree, dict):
        return tree
    flat: dict[str, Any] = {}
    for key, node in tree.items():
        flat |= {prefix + key: node} if is_leaf(node) else dotted(node, is_leaf, f"{prefix}{key}.")
    return flat


def _without_seed(keys: dict[str, Any]) -> dict[str, Any]:
    if "train.seed" in keys:
        raise ValueError("train.seed is what `seeds` sets")
    return keys


def read_spec(path: Path) -> Spec:
    """Raises ConfigError for a file that is missing, no TOML, or no spec, with every wrong key."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the spec: {error}", where=path) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=path) from None
    try:
        return Spec.model_validate({"name": path.stem, **tree})
    except ValidationError as error:
        lines = [_explained(dict(problem)) for problem in error.errors(include_url=False)]
        raise ConfigError(
            "the spec is not valid:\n  " + "\n  ".join(dict.fromkeys(lines)),
            where=path,
            fix="docs/sweeps.md has a spec of every kind",
        ) from None


def _explained(problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = Random if location[:1] == ["random"] else RunBudget if location[:1] == ["budget"] else Spec
        return f"unknown key {key!r}: {did_you_mean(location[-1], known.model_fields)}"
    return f"{key or 'the spec'}: {problem['msg'].removeprefix('Value error, ')}"
