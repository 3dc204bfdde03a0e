"""TOML -> Config: presets, `extends` chains, `-o key=value` overrides, errors that name the key."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bytegolf import registry
from bytegolf.config.schema import BUDGETS, Config, SlotMarker, Variant
from bytegolf.errors import ConfigError, did_you_mean


def preset_names() -> list[str]:
    """The presets that ship with the package, sorted."""
    folder = resources.files("bytegolf") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Resolve a preset name or a path to a TOML file, then `key=value` overrides, later ones last.

    Raises ConfigError: unknown preset or key (with the closest names), a value of the wrong type or range,
    a broken TOML file, an `extends` cycle.
    """
    return traced_config(source, overrides)[0]


@dataclass(frozen=True)
class Setting:
    """One value of a flattened config, and what set it: a preset, a file, `-o`, or "default"."""

    value: Any
    origin: str


def traced_config(source: str, overrides: Sequence[str] = ()) -> tuple[Config, dict[str, Setting]]:
    """The config as `load_config` gives it, and every key of it (`model.mlp.hidden`) with its value and origin."""
    tree = _read(source, ())
    for text in overrides:
        tree = _merge(tree, _map_leaves(parse_override(text), lambda value: Setting(value, "-o")))
    config = resolve(_map_leaves(tree, lambda setting: setting.value), where=source)
    set_by = {key: setting.origin for key, setting in flatten(_opened(tree)).items()}
    flat = flatten(to_tree(config))
    return config, {key: Setting(value, set_by.get(key, "default")) for key, value in flat.items()}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of tables as `a.b.c` -> value. Lists of tables are numbered (`model.embed.mixers.0.kind`)."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        tables = isinstance(value, list) and value != [] and all(isinstance(item, dict) for item in value)
        inner = {str(i): item for i, item in enumerate(value)} if tables else value
        flat |= flatten(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return flat


def _opened(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of settings in which a list of tables, set as a whole, shows the settings inside."""

    def opened(setting: Setting) -> Any:
        items = setting.value if isinstance(setting.value, list) else []
        if not items or not all(isinstance(item, dict) for item in items):
            return setting
        return [_map_leaves(item, lambda value: Setting(value, setting.origin)) for item in items]

    opened_tree: dict[str, Any] = _map_leaves(tree, opened)
    return opened_tree


def _map_leaves(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _map_leaves(value, change) for key, value in tree.items()}
    return change(tree)


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A config with `key=value` overrides on top. Raises ConfigError like `load_config`."""
    tree = to_tree(config)
    for text in overrides:
        tree = _merge(tree, parse_override(text))
    return resolve(tree, where=config.name)


def resolve(tree: dict[str, Any], where: object = None) -> Config:
    """Check a plain tree and freeze it. Raises ConfigError with every wrong key in one message."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(dict(e), tree) for e in error.errors(include_url=False)]
        raise ConfigError("the config is not valid:\n  " + "\n  ".join(lines), where=where) from None


def to_tree(config: Config) -> dict[str, Any]:
    """The config as plain JSON data, without unset optional values; `resolve` takes it back unchanged."""
    return config.model_dump(mode="json", exclude_none=True)


def dump_toml(config: Config) -> str:
    """The resolved config as TOML text."""
    return tomlkit.dumps(to_tree(config))


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=3` -> {"a": {"b": 3}}. The value is TOML; a bare word that is not TOML is a string."""
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError("an override reads key=value", got=repr(text), fix="e.g. -o train.steps=200")
    if "\n" in text:
        raise ConfigError("an override is one line", got=repr(text), fix="pass -o once for each key")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    tree: Any = parsed
    for part in reversed(parts):
        tree = {part: tree}
    assert isinstance(tree, dict)
    return tree


def inline_toml(value: Any) -> str:
    """A value as `parse_override` takes it back: TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline_toml(inner) for inner in value) + "]"
    return json.dumps(value)


def _read(source: str, chain: tuple[str, ...]) -> dict[str, Any]:
    if source in chain:
        raise ConfigError("extends must not form a cycle", got=" -> ".join((*chain, source)))
    text, origin = _text_of(source, chain)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=origin) from None
    parent = tree.pop("extends", None)
    name = source if source in preset_names() else origin
    traced: dict[str, Any] = _map_leaves(tree, lambda value: Setting(value, name))
    if parent is None:
        return traced
    if not isinstance(parent, str):
        raise ConfigError("extends must be a preset name or a path", got=repr(parent), where=origin)
    if parent not in preset_names():  # a path is meant relative to the file that names it
        parent = os.path.abspath(Path(origin).parent / parent)
    return _merge(_read(parent, (*chain, source)), traced)


def _text_of(source: str, chain: tuple[str, ...]) -> tuple[str, str]:
    path = Path(source)
    if path.suffix == ".toml" or "/" in source:
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            named_by = f" (named by {chain[-1]})" if chain else ""
            raise ConfigError(f"cannot read the config file: {error}", where=f"{path}{named_by}") from None
    if source not in preset_names():
        raise ConfigError(f"unknown preset {source!r}", fix=did_you_mean(source, preset_names()))
    file = resources.files("bytegolf") / "presets" / f"{source}.toml"
    return file.read_text(encoding="utf-8"), str(file)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; everything else is replaced. Two exceptions keep alternatives apart:

    a table that changes its `kind` replaces the old one whole, and one training budget replaces another.
    """
    if "kind" in above and _value(above["kind"]) != _value(below.get("kind")):
        return above
    merged = dict(below)
    if any(key in above for key in BUDGETS):
        merged = {key: value for key, value in merged.items() if key not in BUDGETS}
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Setting) else leaf


def _explain(error: dict[str, Any], tree: dict[str, Any]) -> str:
    """One line for one pydantic error: the key as the user writes it, what is wrong, what is known there."""
    *above, last = error["loc"] or ("top level",)
    location = [part for part in above if isinstance(part, int) or part in _keys_in(tree)]
    if error["type"] == "missing" or isinstance(last, int) or last in {*_keys_in(tree), "top level"}:
        location.append(last)
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        table, slot = _table_at(tree, error["loc"][:-1])
        owners = (
            [kind for kind in registry.names(slot) if last in registry.lookup(slot, kind).model_fields]
            if slot
            else []
        )
        if owners:
            return f"{key}: not a key of this kind of {slot}; it belongs to {' and '.join(owners)}"
        return f"{key}: unknown key; {did_you_mean(str(last), table.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: is required"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}" + _came(error["input"])


def _came(value: object) -> str:
    return f"; got {value!r}" if isinstance(value, str | int | float | bool) else ""


def _keys_in(tree: Any) -> set[str]:
    """Every key of a tree. pydantic puts union tags into its locations; those are no keys of the user's."""
    if isinstance(tree, dict):
        return set(tree).union(*(_keys_in(value) for value in tree.values())) if tree else set()
    if isinstance(tree, list):
        return set().union(*(_keys_in(value) for value in tree)) if tree else set()
    return set()


def _table_at(tree: Any, location: Sequence[str | int]) -> tuple[type[BaseModel], str | None]:
    """The class that checks the table at `location`, and the slot that the table fills, if it fills one."""
    table: type[BaseModel] = Config
    field: FieldInfo | None = None
    node = tree
    for part in location:
        if isinstance(node, list | tuple) and isinstance(part, int):
            node = node[part]
        elif isinstance(node, dict) and part in node:
            node, field = node[part], table.model_fields.get(str(part), field)
        else:
            continue  # a union tag
        table = _table_of(field, node) or table
    slot = next(_slots_in(field), None) if issubclass(table, Variant) and field is not None else None
    return table, slot


def _table_of(field: FieldInfo | None, node: Any) -> type[BaseModel] | None:
    """The class that checks the table `node` under `field`, itself or one of a list or dict of them."""
    if field is None or not isinstance(node, dict):
        return None
    kind = node.get("kind")
    slot = next(_slots_in(field), None)
    if slot is not None:
        found: type[BaseModel] = registry.lookup(slot, kind) if kind in registry.names(slot) else Variant
        return found
    classes = _classes_in(field.annotation)
    for candidate in classes:
        tag = candidate.model_fields.get("kind")
        if tag is not None and (kind or tag.default) in get_args(tag.annotation):
            return candidate
    return classes[0] if len(classes) == 1 else None


def _slots_in(field: Any) -> Iterator[str]:
    """The slots that the annotation of a field names, at any depth."""
    annotation = getattr(field, "annotation", field)
    for part in (*getattr(field, "metadata", ()), *getattr(annotation, "__metadata__", ())):
        if isinstance(part, SlotMarker):
            yield part.slot
    for part in get_args(annotation):
        yield from _slots_in(part)


def _classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _classes_in(part)]
