"""CONFIG, -o and --shrink, as several commands take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bytegolf.config.schema import Config

CONFIG = typer.Argument(help="A preset or a TOML file.")
OVERRIDE = typer.Option([], "-o", help="Override a key of the config, e.g. -o train.clip=0.5")
SHRINK = typer.Option(
    False, "--shrink", help="The same system small, for trials: narrow, short rows, 50 steps, no byte limit."
)


def load(source: str, overrides: Sequence[str], shrink: bool) -> Config:
    """The config; `--shrink` works on the preset, and overrides on what it leaves."""
    from bytegolf.config.load import load_config, with_overrides

    if not shrink:
        return load_config(source, overrides)
    from bytegolf.model.shrink import shrunk

    return with_overrides(shrunk(load_config(source)), overrides)
