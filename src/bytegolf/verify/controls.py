"""T16: texts whose cost is known beforehand, whatever the model.

A predictor is a code, and no code is short for more than a few texts. Of the N orders that the symbols of a text
can be in, at most N / 2^k cost less than log2 N - k bits, so a shuffled text costs at least that but with
probability 2^-k; likewise n random bytes cost at least 8 n - k bits. No honest model fails this, and a score that
comes from the target, the future or a cache without normalisation rarely passes it.
"""

from __future__ import annotations

import lzma
import math

import numpy as np

from bytegolf.verify.check import Case, Check, Outcome

LUCK = 40  # bits: an honest model fails once in 2^40 texts
RANDOM_BYTES = 1024
# The best models of the size in question need some 0.45 of what xz does on web text. 0.35 of it is 0.8 bpb there.
FLOOR = 0.35


def controls(case: Case) -> Outcome:
    """A shuffled text, random bytes, and the text itself against xz."""
    shuffled, least_shuffled = _shuffled(case)
    noise, least_noise = _noise(case)
    text = b"".join(case.sampled)
    bits = math.fsum(case.base.nats) / math.log(2)
    whole = b"".join(case.documents)
    floor = FLOOR * 8 * len(lzma.compress(whole, preset=9)) / len(whole)
    figures = {
        "shuffled_bits": shuffled,
        "shuffled_at_least": least_shuffled,
        "random_bytes_bits": noise,
        "random_bytes_at_least": least_noise,
        "bpb": bits / len(text),
        "floor_bpb": floor,
    }
    wrong = []
    if not shuffled >= least_shuffled:
        wrong.append(f"a shuffled text costs {shuffled:,.0f} bits where {least_shuffled:,.0f} is the least")
    if not noise >= least_noise:
        wrong.append(f"random bytes cost {noise:,.0f} bits where {least_noise:,.0f} is the least")
    if not bits / len(text) >= floor:
        wrong.append(f"{bits / len(text):.3f} bpb is below {floor:.3f}, {FLOOR} of xz: explain")
    told = f"shuffled {shuffled / least_shuffled:.2f}x, random bytes {noise / least_noise:.2f}x the least possible"
    return Outcome.of(not wrong, "; ".join(wrong) or told, **figures)


def _shuffled(case: Case) -> tuple[float, float]:
    """Bits of the sample with its symbols in random order (ends stay), and the least that has to cost."""
    tokens, inside = case.tokens.copy(), case.tokens != case.subject.end
    symbols = case.random("T16").permutation(tokens[inside])
    tokens[inside] = symbols
    counts = np.unique(symbols, return_counts=True)[1]
    orders = math.lgamma(len(symbols) + 1) - math.fsum(math.lgamma(n + 1) for n in counts.tolist())
    bits = math.fsum(case.subject.run(tokens).nats) / math.log(2)
    return bits, max(1.0, orders / math.log(2) - LUCK)


def _noise(case: Case) -> tuple[float, float]:
    """Bits of a document of random bytes, and the least that has to cost."""
    noise = case.random("T16 bytes").bytes(RANDOM_BYTES)
    nats = case.subject.run(case.stream([noise])).nats
    return math.fsum(nats) / math.log(2), 8 * RANDOM_BYTES - LUCK


CHECKS = [
    Check(
        "T16", "controls", "texts without structure cost what they must, and the text is not free", controls
    )
]
