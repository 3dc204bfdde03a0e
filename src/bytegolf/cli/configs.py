"""CONFIG, -o and --shrink, as several commands take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bytegolf.config.schema import Config, Score

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


CONTEXT = typer.Option(
    None, min=1, help="Tokens a target may see; more than in training is possible.  [default: score.context]"
)
STRIDE = typer.Option(
    None, min=1, help="Tokens a window moves; the context itself means no overlap.  [default: score.stride]"
)
DOCUMENTS = typer.Option(
    None, help="stream, or isolated: nothing of other documents is seen.  [default: score.documents]"
)
ADAPT = typer.Option(
    None, help="Test-time training: none, sgd, adamw or lora (isolated).  [default: score.adaptation]"
)
SCORE_OVERRIDE = typer.Option([], "-o", help="Override a key of score, e.g. -o score.adaptation.lr=0.001")


def score_settings(
    config: Config,
    context: int | None = None,
    stride: int | None = None,
    documents: str | None = None,
    adapt: str | None = None,
    overrides: Sequence[str] = (),
) -> Score:
    """How to score: what the config says, the options on top, the context resolved.

    Raises ConfigError for an override of anything but score and for settings that do not go together.
    """
    from bytegolf.config.load import parse_override, with_overrides
    from bytegolf.errors import ConfigError

    for override in overrides:
        if set(parse_override(override)) != {"score"}:
            raise ConfigError(
                "what is packed can be scored in another way, but not changed",
                got=repr(override),
                where="-o",
                fix="override keys of score: score.context, score.stride, score.documents, score.adaptation",
            )
    if adapt == "lora" and documents is None:
        documents = "isolated"
    named = {"context": context, "stride": stride, "documents": documents, "adaptation.kind": adapt}
    given = [f"score.{key}={value}" for key, value in named.items() if value is not None]
    return with_overrides(config, [*given, *overrides]).resolved_score


def described(settings: Score) -> str:
    """`context 2048, stride 512, isolated documents, adapted by sgd`."""
    words = [f"context {settings.context}", f"stride {settings.stride}"]
    if settings.documents == "isolated":
        words.append("isolated documents")
    if settings.adaptation.kind != "none":
        words.append(f"adapted by {settings.adaptation.kind}")
    return ", ".join(words)
