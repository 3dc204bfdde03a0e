"""T1: are the probabilities probabilities, symbol by symbol and byte by byte?"""

from __future__ import annotations

import numpy as np

from bytegolf.score.predictor import Floats
from bytegolf.verify.check import SAME, Case, Check, Outcome

TOLERANCE = (
    1e-4  # on a sum; published caches were off by factors of 100 and more, spread mixtures by over 1 %
)
POSITIONS, FULL_POSITIONS = 64, 256
# Without distributions every symbol is tried as the target: so many runs in all, on texts of so many targets.
TRIALS, TRIAL_TARGETS = 800, 120


def normalised(case: Case) -> Outcome:
    """At random positions: none negative, the sum 1, the cost read from that very distribution, bytes likewise."""
    targets = len(case.tokens) - 1
    count = min(targets, POSITIONS if case.sample is not None else FULL_POSITIONS)
    places = sorted(case.random("T1").choice(targets, count, replace=False).tolist())
    run = case.subject.run(case.tokens, places)
    if not run.distributions:
        return _by_trial(case)
    worst, lowest, misread, least_byte = 0.0, np.inf, 0.0, np.inf
    matrix = first_bytes(case)
    for place, p in run.distributions.items():
        if p.shape != (case.subject.vocab_size,) or not np.isfinite(p).all():
            told = f"no distribution over {case.subject.vocab_size} symbols at target {place}"
            return Outcome.of(False, told, target=place, shape=list(p.shape))
        by_byte = matrix @ p
        worst = max(worst, abs(float(p.sum()) - 1), abs(float(by_byte.sum()) - 1))
        lowest, least_byte = min(lowest, float(p.min())), min(least_byte, float(by_byte[:256].min()))
        with np.errstate(divide="ignore", invalid="ignore"):
            misread = max(misread, abs(float(-np.log(p[case.tokens[place + 1]]) - run.nats[place])))
    passed = worst <= TOLERANCE and lowest >= 0 and misread <= SAME
    told = f"{len(places)} positions: sums off by {worst:.1e}, costs off their distribution by {misread:.1e}"
    if lowest < 0:
        told += f", a probability of {lowest:.2g}"
    figures = {"positions": len(places), "largest_error_of_a_sum": worst, "smallest_probability": lowest}
    return Outcome.of(
        passed, told, **figures, cost_off_by=misread, smallest_next_byte=least_byte, allowed=TOLERANCE
    )


def first_bytes(case: Case) -> Floats:
    """(257, V): 1 where a symbol begins with the byte; row 256 takes the symbols without bytes."""
    matrix = np.zeros((257, case.subject.vocab_size))
    for symbol, piece in enumerate(case.subject.pieces()):
        matrix[piece[0] if piece else 256, symbol] = 1
    return matrix


def _by_trial(case: Case) -> Outcome:
    """The sum over all symbols of exp(-cost), each put in as the target of a run of its own."""
    size = case.subject.vocab_size
    targets = min(len(case.tokens) - 1, TRIAL_TARGETS)
    count = min(targets, max(2, TRIALS // size))
    worst, where = 0.0, 0
    for place in sorted({targets - 1, *case.random("T1").choice(targets, count, replace=False).tolist()}):
        total = 0.0
        for symbol in range(size):
            tokens = np.append(case.tokens[: place + 1], symbol)
            total += float(np.exp(-case.subject.run(tokens).nats[place]))
        if not abs(total - 1) <= worst:
            worst, where = abs(total - 1), place
    told = f"each of {size} symbols as the target: sums off by {worst:.2g}, at target {where}"
    return Outcome.of(worst <= TOLERANCE, told, largest_error_of_a_sum=worst, target=where, allowed=TOLERANCE)


CHECKS = [
    Check(
        "T1", "normalised", "costs come from probabilities that sum to 1, over symbols and bytes", normalised
    )
]
