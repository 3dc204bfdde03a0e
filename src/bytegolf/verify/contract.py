"""T0: the fast path of a packed model gives the costs that the streaming contract gives, here and now."""

from __future__ import annotations

import numpy as np

from bytegolf.score.predictor import drive
from bytegolf.verify.check import SAME, Case, Check, Outcome, largest_difference

TARGETS = 192  # each takes a forward pass of its own


def contract(case: Case) -> Outcome:
    """The beginning of the sample, and a short row behind its first border between documents, symbol by symbol."""
    streaming = getattr(case.subject, "predictor", None)
    if streaming is None:
        return Outcome.skipped("there is no other path: the contract, or what was given, is run as it is")
    ends = np.flatnonzero(case.tokens[1:] == case.subject.end)[:1] + 1
    begin = max(0, int(ends[0]) - TARGETS // 2) if len(ends) else 0
    worst = 0.0
    for tokens in (case.tokens[: TARGETS // 2 + 1], case.tokens[begin : begin + TARGETS // 2 + TARGETS // 4]):
        # Any symbol may begin a stream; as in every stream the first one is taken for an end that is given.
        tokens = np.concatenate(([case.subject.end], tokens[1:]))
        with streaming() as predictor:
            slow = drive(predictor, tokens, case.subject.end)
        worst = max(worst, largest_difference(slow, case.subject.run(tokens).nats))
    told = f"largest difference to the contract, symbol by symbol: {worst:.2g} nats"
    return Outcome.of(worst <= SAME, told, largest_nats=worst, allowed=SAME)


CHECKS = [
    Check("T0", "contract", "costs are those of a predictor that is shown one symbol at a time", contract)
]
