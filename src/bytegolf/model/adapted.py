"""Which tensors test-time training changes: words of a config -> names of the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bytegolf.config.schema import Model
from bytegolf.errors import ConfigError, did_you_mean
from bytegolf.model.spec import block_tensors, manifest


def trained_tensors(model: Model, freeze: Sequence[str]) -> list[str]:
    """The tensors that are not frozen, in manifest order.

    A word of `freeze` is a role, or else the start of a manifest name up to a dot or its end; "embed" and "head"
    are both, and mean the role. Raises ConfigError for a word that names no tensor, and when none is left.
    """
    tensors = manifest(model).tensors
    roles = {t.name: t.role for t in tensors}
    frozen: set[str] = set()
    for word in freeze:
        named = {name for name, role in roles.items() if role == word}
        named = named or {name for name in roles if f"{name}.".startswith(f"{word}.")}
        if not named:
            raise ConfigError(
                "a frozen word must be a role of the model or the start of a tensor's name",
                got=repr(word),
                where="score.adaptation.freeze",
                fix=did_you_mean(word, {*roles.values(), *_starts(roles, word.count(".") + 1)}),
            )
        frozen |= named
    trained = [t.name for t in tensors if t.name not in frozen and t.size]
    if not trained:
        raise ConfigError(
            "adaptation needs a tensor that is not frozen",
            got=f"all {len(roles)} frozen",
            where="score.adaptation.freeze",
            fix='name fewer, or score without adaptation: kind = "none"',
        )
    return trained


def _starts(names: Iterable[str], parts: int) -> set[str]:
    """The starts of the names that have so many parts: what a word of that length may have meant."""
    return {".".join(name.split(".")[:parts]) for name in names}


def changed_matrices(model: Model, parts: Sequence[str]) -> list[str]:
    """The matrices that get a low-rank change, in the order of `parts`, layer by layer.

    "head" is the matrix of the output projection, which is the embedding when the head is tied; any other part is
    a matrix of the layers under its short name ("attention.q"). Raises ConfigError for another word, and for none.
    """
    of_layer = [t.name for t in block_tensors(model, 0) if t.role == "matrix"]
    known = ["head", *of_layer]
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        raise ConfigError(
            "the parts that learn must be matrices of the model",
            got=repr(unknown[0]) if unknown else "none",
            where="score.adaptation.parts",
            fix=did_you_mean(unknown[0] if unknown else "", known),
        )
    names: list[str] = []
    for part in dict.fromkeys(parts):
        if part == "head":
            own = [t.name for t in manifest(model).tensors if t.role == "head"]
            names += own or ["embed.weight"]
        else:
            names += [f"blocks.{layer}.{part}" for layer in range(model.layers)]
    return names
