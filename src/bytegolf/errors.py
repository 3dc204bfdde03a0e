"""Errors that answer: which rule was broken, what came, where it is set, what to do about it.

Everything a user can get wrong is raised as a `UserError`. The command line prints it as one message,
without a traceback, and exits with code 2; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can repair.

    rule:  the rule that was broken, as a sentence without a full stop.
    got:   what came instead.
    where: the file, key or option that holds it.
    fix:   what to do now.
    """

    def __init__(
        self, rule: str, *, got: object = None, where: object = None, fix: str | None = None
    ) -> None:
        self.rule, self.got, self.where, self.fix = rule, got, where, fix
        super().__init__(rule)

    def __str__(self) -> str:
        text = self.rule
        if self.got is not None:
            text += f"; got {self.got}"
        if self.where is not None:
            text += f" (in {self.where})"
        if self.fix is not None:
            text += f"\n  -> {self.fix}"
        return text


class ConfigError(UserError):
    """A preset, a TOML file or an override that does not describe a run."""


class DataError(UserError):
    """A corpus, tokenizer, shard or manifest that cannot be used."""


class ArtifactError(UserError):
    """A .golf file that is damaged, truncated, altered, or of another version."""


class BudgetError(UserError):
    """An artifact that is larger than the bytes it may have."""


class RunError(UserError):
    """A run directory that is missing, occupied, or cannot be written."""


class TrainingDivergedError(UserError):
    """The loss left the finite numbers."""


class WorldError(UserError):
    """A process of a job that did not come, or left before the end."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known names, or all of them when nothing is close."""
    names = sorted(known)
    begun = [n for n in names if name and n.startswith(name)]
    close = begun[:3] or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(names)
