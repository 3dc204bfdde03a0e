"""The battery: every check in order, each with its outcome and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from bytegolf.errors import ConfigError, did_you_mean
from bytegolf.verify import (
    accounting,
    causality,
    clean_room,
    contract,
    controls,
    normalised,
    provenance,
    round_trip,
    shipping,
)
from bytegolf.verify.check import Case, Check, Finding, Outcome

FAMILIES = (
    contract,
    normalised,
    causality,
    accounting,
    provenance,
    clean_room,
    shipping,
    round_trip,
    controls,
)
CHECKS: list[Check] = sorted(
    (check for family in FAMILIES for check in family.CHECKS), key=lambda check: int(check.id[1:])
)


def chosen(ids: Sequence[str]) -> list[Check]:
    """The checks with these ids, all for none. Raises ConfigError for an id that is none."""
    known = {check.id: check for check in CHECKS}
    for name in ids:
        if name not in known:
            raise ConfigError(f"unknown check {name!r}", where="--check", fix=did_you_mean(name, known))
    return [check for check in CHECKS if not ids or check.id in ids]


def examine(
    case: Case, checks: Sequence[Check] = CHECKS, report: Callable[[Check], None] = lambda check: None
) -> Iterator[Finding]:
    """Run checks one after the other. A subject that breaks under a check fails it; the others still run."""
    for check in checks:
        report(check)
        start = time.perf_counter()
        try:
            outcome = check.run(case)
        except Exception as error:
            # The code under examination is not ours: whatever it raises is a finding.
            outcome = Outcome.of(False, f"it raised {type(error).__name__}: {error}")
        seconds = time.perf_counter() - start
        yield Finding(
            check.id, check.name, check.proves, outcome.status, outcome.measured, outcome.figures, seconds
        )
