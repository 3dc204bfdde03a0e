"""Is all counted, once, over the right bytes? T6 every target once, T7 the denominator, T12 two runs agree."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.verify.check import SAME, Case, Check, Outcome, largest_difference

CLAIM_TOLERANCE = 1e-4  # bpb, since a claim is printed with four digits


def once(case: Case) -> Outcome:
    """Every target has one cost, written once, a finite number of nats that is not negative."""
    run, targets = case.base, len(case.tokens) - 1
    missing, repeated = int((run.times == 0).sum()), int((run.times > 1).sum())
    odd = int((~(np.isfinite(run.nats) & (run.nats >= -SAME)) & (run.times > 0)).sum())
    told = f"{targets:,} targets: {missing} left out, {repeated} scored again, {odd} without a proper cost"
    return Outcome.of(
        not missing + repeated + odd, told, targets=targets, missing=missing, repeated=repeated, odd=odd
    )


def denominator(case: Case) -> Outcome:
    """Symbols give every document back byte for byte, their bytes add up, and what is claimed is so."""
    subject, raw = case.subject, b"".join(case.documents)
    pieces, counted, targets = np.array([len(p) for p in subject.pieces()]), 0, -1
    if pieces[subject.end] != 0:
        return Outcome.of(False, f"the end symbol counts {pieces[subject.end]} bytes")
    for number, document in enumerate(case.documents):
        symbols = subject.encode(document)
        if subject.decode(symbols) != document:
            return Outcome.of(
                False, f"document {number} does not come back from its symbols", document=number
            )
        counted += int(subject.byte_counts(symbols).sum())
        targets += 1 + len(symbols)
    facts: dict[str, Any] = {"bytes": len(raw), "targets": targets, "sha256": hashlib.sha256(raw).hexdigest()}
    if counted != len(raw):
        return Outcome.of(False, f"symbols count {counted:,} bytes of {len(raw):,}", counted=counted, **facts)
    own = subject.claimed_bytes(case.stream(case.documents))
    if own is not None and own != len(raw):
        told = f"its own table counts {own:,} bytes of {len(raw):,} ({own / len(raw) - 1:+.1%})"
        return Outcome.of(False, told, own=own, **facts)
    claim = subject.claim()
    wrong = {key: claim[key] for key in facts if key in claim and claim[key] != facts[key]}
    if wrong:
        told = "; ".join(f"{key} claimed {value}, found {facts[key]}" for key, value in wrong.items())
        return Outcome.of(False, told, **facts)
    bpb = claimed_bpb(case)
    if bpb is not None and abs(bpb[0] - bpb[1]) > CLAIM_TOLERANCE:
        return Outcome.of(False, f"bpb claimed {bpb[0]:.4f}, found {bpb[1]:.4f}", **facts)
    told = f"{len(raw):,} bytes, {targets:,} targets, sha256 {facts['sha256'][:12]}, all documents come back"
    return Outcome.of(True, told, **facts)


def claimed_bpb(case: Case) -> tuple[float, float] | None:
    """The bpb that is claimed and the one found; None without a claim, or when only a sample is run."""
    claim = case.subject.claim().get("bpb")
    if claim is None or case.sample is not None:
        return None
    size = sum(len(document) for document in case.documents)
    return float(claim), bits_per_byte(math.fsum(case.base.nats), size)


def again(case: Case) -> Outcome:
    """The same text once more, from nothing."""
    second = case.subject.run(case.tokens)
    apart = largest_difference(second.nats, case.base.nats)
    total = abs(math.fsum(second.nats) - math.fsum(case.base.nats)) / max(1, len(second.nats))
    told = (
        "two runs are bit-identical" if apart == 0 else f"two runs differ by up to {apart:.2g} nats a target"
    )
    return Outcome.of(apart <= SAME, told, largest_nats=apart, mean_nats=total, allowed=SAME)


CHECKS = [
    Check("T6", "every target once", "no target is left out, scored twice or without a cost", once),
    Check("T7", "denominator", "bits are divided by the bytes of the raw text, all of it", denominator),
    Check("T12", "two runs agree", "the score is not a matter of luck", again),
]
