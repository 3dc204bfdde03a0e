"""Does a score know what it must not? T2 the future, T3 the target, T4 other documents, T5 where the text ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bytegolf.verify.check import SAME, Case, Check, Outcome, largest_difference

CUTS, FULL_CUTS = 6, 32
# Targets are swapped early in the sample: each swap is a run of its own, up to its place.
SWAPS, ALTERNATIVES, SWAPPED_BEFORE = 4, 8, 512


def cuts(case: Case, salt: str) -> list[int]:
    """Targets at which to cut the sample, seeded; the second is always among them."""
    targets = len(case.tokens) - 1
    if targets < 3:
        return []
    count = min(targets - 2, CUTS if case.sample is not None else FULL_CUTS)
    return sorted({2, *case.random(salt).choice(np.arange(2, targets), count, replace=False).tolist()})


def future(case: Case) -> Outcome:
    """Tokens from a cut on are replaced by random ones, and put in reverse; the text keeps its length."""
    random, worst, where = case.random("T2"), 0.0, 0
    for cut in cuts(case, "T2 cuts"):
        after = case.tokens[cut + 1 :]
        for altered in (random.integers(0, case.subject.vocab_size, len(after)), after[::-1]):
            run = case.subject.run(np.concatenate((case.tokens[: cut + 1], altered)))
            apart = largest_difference(run.nats[:cut], case.base.nats[:cut])
            if apart > worst:
                worst, where = apart, cut
    told = f"largest change of an earlier cost {worst:.2g} nats" + (f", cut at {where}" if worst else "")
    return Outcome.of(worst <= SAME, told, largest_nats=worst, allowed=SAME, cut=where)


def target(case: Case) -> Outcome:
    """The target at a position is replaced by others; the distribution that scored it must not move."""
    random, worst = case.random("T3"), 0.0
    early = min(len(case.tokens) - 1, SWAPPED_BEFORE)
    places = random.choice(early, min(SWAPS, early), replace=False)
    ends = np.flatnonzero(case.tokens[1:] == case.subject.end)[:1]  # who knows lengths knows these targets
    for place in [*ends.tolist(), *places.tolist()]:
        tokens = case.tokens[: place + 2].copy()  # what comes later is the business of T2
        honest = case.subject.run(tokens, [place]).distributions.get(place)
        if honest is None:
            return Outcome.skipped("the predictor shows no distributions; T1 tries every target instead")
        for _ in range(ALTERNATIVES):
            tokens[place + 1] = random.integers(0, case.subject.vocab_size)
            p = case.subject.run(tokens, [place]).distributions[place]
            worst = max(worst, largest_difference(p, honest))
        if worst > SAME:
            told = f"the distribution moves by {worst:.2g} when its target is another"
            return Outcome.of(False, told, largest=worst, target=place)
    told = f"largest change of a probability {worst:.2g} at {len(places)} targets"
    return Outcome.of(True, told, largest=worst, allowed=SAME)


def neighbour(case: Case) -> Outcome:
    """One document is rewritten; then all documents come in reverse order. Costs of the others must stay."""
    if len(case.sampled) < 2:
        return Outcome.skipped("the text is one document")
    borders = [*np.flatnonzero(case.tokens == case.subject.end).tolist(), len(case.tokens)]
    if len(borders) - 1 != len(case.sampled):
        return Outcome.skipped("the end symbol occurs inside documents")
    changed = (len(borders) - 1) // 2
    begin, stop = borders[changed - 1] + 1, borders[changed]  # the document before the middle one
    tokens = case.tokens.copy()
    others = np.setdiff1d(np.arange(case.subject.vocab_size), [case.subject.end])
    tokens[begin:stop] = case.random("T4").choice(others, stop - begin)
    moved = case.subject.run(tokens).nats
    before = largest_difference(moved[: begin - 1], case.base.nats[: begin - 1])
    after = largest_difference(
        moved[stop:], case.base.nats[stop:]
    )  # from the first token of the next document on
    figures = {"earlier_nats": before, "later_nats": after, "declared": case.subject.carries_over}
    if case.subject.carries_over:
        told = (
            f"declared: a document moves later ones (by up to {after:.2g} nats); earlier ones by {before:.2g}"
        )
        return Outcome.of(before <= SAME, told, **figures)
    reordered = _reordered(case, borders)
    told = f"other documents move by {max(before, after):.2g} nats, by {reordered:.2g} in reverse order"
    return Outcome.of(max(before, after, reordered) <= SAME, told, **figures, reordered_nats=reordered)


def _reordered(case: Case, borders: list[int]) -> float:
    """How far costs move when the documents come in reverse order; the ends aside, which the last has not."""
    spans = list(pairwise(borders))
    tokens = np.concatenate([case.tokens[a:b] for a, b in reversed(spans)])
    nats, worst, at = case.subject.run(tokens).nats, 0.0, 0
    for a, b in reversed(spans):
        inside = b - a - 1
        worst = max(worst, largest_difference(nats[at : at + inside], case.base.nats[a : a + inside]))
        at += b - a
    return worst


def prefix(case: Case) -> Outcome:
    """The text up to a cut is scored alone; then up to the end of a document. What was scored stays as it was."""
    ends = np.flatnonzero(case.tokens[2:] == case.subject.end)[:2] + 1
    worst, where = 0.0, 0
    for cut in sorted({*cuts(case, "T5"), *ends.tolist()}):
        apart = largest_difference(case.subject.run(case.tokens[: cut + 1]).nats, case.base.nats[:cut])
        if apart > worst:
            worst, where = apart, cut
    told = f"largest difference {worst:.2g} nats" + (f", text cut after {where} targets" if worst else "")
    return Outcome.of(worst <= SAME, told, largest_nats=worst, allowed=SAME, cut=where)


CHECKS = [
    Check("T2", "future", "no cost depends on what comes later", future),
    Check("T3", "target swap", "a distribution does not depend on the target that it scores", target),
    Check("T4", "neighbour document", "documents do not reach into each other undeclared", neighbour),
    Check("T5", "prefix replay", "no cost depends on where the text ends or on a second look", prefix),
]
