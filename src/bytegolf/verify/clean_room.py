"""T9 and T10: alone with its files the subject gives the same costs, and a clock that it cannot stop agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bytegolf.verify.check import Case, Check, Outcome, largest_difference
from bytegolf.verify.clean_run import CleanRun, clean_run

TOLERANCE = 1e-4  # nats a target
SLACK = 1.0  # seconds that a subject's own clock may miss in any case


def _alone(case: Case) -> Outcome:
    """T9."""
    if case.in_clean_room is None:
        return Outcome.skipped("the subject cannot be built again in another process")
    run = clean_run(case)
    figures: dict[str, Any] = {
        "isolation": run.isolation,
        "opened": {kind: len(paths) for kind, paths in run.opened.items()},
        "packages": _packages(run.opened.get("packages", ())),
        "violations": [list(violation) for violation in run.violations],
        "error": run.error,
    }
    troubles = [f"{kind}: {what}" for kind, what in run.violations[:3]]
    if len(run.violations) > 3:
        troubles.append(f"{len(run.violations) - 3} more")
    if run.error is not None:
        troubles.append(run.error)
    if run.nats is not None:
        nats = case.subject.run(case.tokens).nats
        largest, identical = (
            largest_difference(run.nats, nats),
            np.array_equal(run.nats, nats, equal_nan=True),
        )
        figures |= {"largest_difference": largest, "bit_identical": identical}
        if not largest <= TOLERANCE:
            troubles.append(f"costs differ by up to {largest:.3g} nats from those in this process")
    if troubles:
        return Outcome.of(False, "; ".join(troubles), **figures)
    how = "bit for bit" if figures["bit_identical"] else f"to {figures['largest_difference']:.1e} nats"
    count = sum(figures["opened"].values())
    return Outcome.of(
        True,
        f"{run.targets} targets cost the same {how}; {count} files opened, none of them foreign; {run.isolation}",
        **figures,
    )


def _packages(paths: Sequence[str]) -> list[str]:
    """The installed packages that were read beside numpy: capacity that nobody counts, so it is named."""
    below = (Path(path).parts for path in paths)
    names = {parts[parts.index("site-packages") + 1] for parts in below if "site-packages" in parts[:-1]}
    names = {name.partition(".")[0] for name in names if not name.endswith(".dist-info")}
    return sorted(names - {"numpy", "__pycache__"})


def _clock(case: Case) -> Outcome:
    """T10."""
    if case.in_clean_room is None:
        return Outcome.skipped("the subject cannot be built again in another process")
    run = clean_run(case)
    if run.error is not None or run.nats is None:
        return Outcome.of(False, run.error or "no score", error=run.error)
    rate = run.targets / max(run.scored - run.ready, 1e-9)
    whole = _targets_of_all(case)
    projected = run.ready + whole / rate
    claimed, work = _claimed_and_spent(run)
    figures: dict[str, Any] = {
        "seconds": run.scored,
        "start_up": run.idle,
        "building": run.ready - run.idle,
        "importing_packages": run.imports,
        "targets": run.targets,
        "targets_per_second": rate,
        "targets_of_all": whole,
        "projected_seconds": projected,
        "limit": case.seconds,
        "claimed_seconds": claimed,
        "spent_on_what_is_claimed": work,
    }
    measured = (
        f"{run.scored:.2f} s for {run.targets} targets, {rate:,.0f} a second; all of it {projected:,.1f} s"
    )
    if case.seconds is not None and max(run.scored, projected) > case.seconds:
        return Outcome.of(False, f"{measured}, over {case.seconds:g} s", **figures)
    if claimed is not None and work > max(2 * claimed, claimed + SLACK):
        return Outcome.of(False, f"{measured}; its own clock says {claimed:.2f} s of {work:.2f} s", **figures)
    return Outcome.of(True, measured, **figures)


def _claimed_and_spent(run: CleanRun) -> tuple[float | None, float]:
    """Seconds that the subject claims, and those that the same work takes here: building it and scoring as many
    targets as the claim is about (it may say; else it is about this run). Start-up and packages are free.
    """
    claimed, targets = run.claim.get("seconds"), run.claim.get("targets")
    scoring = run.scored - run.ready
    spent = run.scored - run.idle - run.imports
    if isinstance(targets, int | float) and targets > 0:
        spent += scoring * (targets / run.targets - 1)
    return (float(claimed) if isinstance(claimed, int | float) else None), spent


def _targets_of_all(case: Case) -> int:
    """Targets of all documents, in proportion to the bytes of the sample: encoding everything may take minutes."""
    sampled, everything = sum(map(len, case.sampled)), sum(map(len, case.documents))
    return round((len(case.tokens) - 1) * max(1.0, everything / max(1, sampled)))


CHECKS = [
    Check(
        "T9",
        "clean room",
        "alone with its files, without network, other files or processes, the subject gives the same costs",
        _alone,
    ),
    Check(
        "T10",
        "process clock",
        "from the start of the process to the last score it takes the seconds it may take and says it takes",
        _clock,
    ),
]
