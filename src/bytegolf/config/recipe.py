"""What a config says to do, without what it is called and by which seed: runs of one recipe can be averaged."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bytegolf.config.load import flatten, to_tree
from bytegolf.config.schema import Config

NOT_THE_RECIPE = ("name", "about", "train.seed")


def recipe(config: Config) -> dict[str, Any]:
    """Every key of the resolved config and its value, but those that may differ between seeds of one recipe."""
    flat = flatten(to_tree(config))
    return {key: value for key, value in flat.items() if key not in NOT_THE_RECIPE}


def config_hash(config: Config) -> str:
    """sha256 of the recipe as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(recipe(config), sort_keys=True).encode()).hexdigest()


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Keys of the recipe that differ, with both values; None where a config has no such key."""
    first, second = recipe(one), recipe(other)
    keys = sorted(first.keys() | second.keys())
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}
