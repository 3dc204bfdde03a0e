"""T13: a score is the length of a code, so there has to be the code: the sample is coded, and decoded again.

A packed model is read in exact arithmetic (on_numpy/exact), as `bytegolf compress` reads it, and what that
costs is compared with what is scored. Somebody else's predictor codes with its own probabilities, made whole
numbers; its decoder is a second one from the factory, which sees a symbol only after it has come out of the
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bytegolf.coding.block import Text
from bytegolf.coding.exact_coder import ExactCoder
from bytegolf.coding.range_coder import Decoder, Encoder
from bytegolf.score.predictor import Floats
from bytegolf.verify.check import Case, Check, Outcome

ALLOWED = 0.005  # share of the cost by which exact arithmetic may differ from the score
TOTAL = 1 << 24


def round_trip(case: Case) -> Outcome:
    """Code the sample, decode it, compare both texts and both costs."""
    if hasattr(case.subject, "exact_coder"):
        return _exact(case, case.subject)
    if not getattr(case.subject, "streaming", False) and not getattr(case.subject, "lanes", 0):
        return Outcome.skipped("what scores a whole text needs it beforehand; give the streaming form")
    return _replayed(case, case.subject)


def _exact(case: Case, subject: Any) -> Outcome:
    coder: ExactCoder | None = subject.exact_coder()
    if coder is None:
        return Outcome.skipped("test-time training has no exact form")
    with threadpool_limits(1):  # as workers.crew: threads cost products of this size more than they bring
        coded = zip(case.sampled, coder.encode([Text(d) for d in case.sampled]), strict=True)
        kept = [(document, block) for document, block in coded if block is not None and block.tokens]
        if not kept:
            return Outcome.skipped("every document of the sample costs more than its bytes")
        back = coder.decode([block for _, block in reversed(kept)])  # in other lanes than they came from
    same = back == [document for document, _ in reversed(kept)]
    bits = math.fsum(block.bits for _, block in kept)
    scored = math.fsum(float(subject.run(case.stream([d])).nats.sum()) for d, _ in kept) / math.log(2)
    text, size = sum(len(d) for d, _ in kept), sum(len(block.payload) for _, block in kept)
    apart = bits / scored - 1
    figures = {"bytes": text, "coded_bytes": size, "exact_bits": bits, "scored_bits": scored, "apart": apart}
    told = f"{text:,} bytes through {size:,} and back; exact arithmetic costs {100 * apart:+.3f} %"
    return Outcome.of(same and abs(apart) <= ALLOWED, told if same else "other bytes came back", **figures)


def _replayed(case: Case, subject: Any) -> Outcome:
    tokens = [np.concatenate((subject.encode(d), [subject.end])) for d in case.sampled]
    encoders = [Encoder() for _ in tokens]
    bits = {"coding": 0.0, "decoding": 0.0}

    def know(document: int, place: int, extras: Floats) -> int:
        symbol = int(tokens[document][place])
        encoders[document].encode(np.array([symbol]), extras)
        bits["coding"] -= math.log2((1 + extras[0, symbol]) / TOTAL)
        return symbol

    list(_told(subject, [len(t) for t in tokens], know))
    payloads = [encoder.finish() for encoder in encoders]
    decoders = [Decoder(payload) for payload in payloads]

    def find(document: int, place: int, extras: Floats) -> int:
        symbol = decoders[document].decode(extras.astype(np.float32))
        bits["decoding"] -= math.log2((1 + extras[0, symbol]) / TOTAL)
        return symbol

    wrong = None
    for document, place, symbol in _told(subject, [len(t) for t in tokens], find):
        if symbol != tokens[document][place]:
            wrong = f"document {document} decodes to something else from its symbol {place} on"
            break
    if wrong is None and abs(bits["decoding"] - bits["coding"]) > 1:
        # It decodes what it knows already: the bytes have no part in that.
        wrong = (
            f"it codes {bits['coding']:,.0f} bits and decodes {bits['decoding']:,.0f}: what it says changes"
        )
    text, size = sum(map(len, case.sampled)), sum(map(len, payloads))
    told = wrong or f"{text:,} bytes through {size:,} and back, by another predictor of the factory"
    return Outcome.of(wrong is None, told, bytes=text, coded_bytes=size)


def _told(
    subject: Any, lengths: Sequence[int], next_symbol: Callable[[int, int, Floats], int]
) -> Iterator[tuple[int, int, int]]:
    """Run a new predictor over documents of these lengths; `next_symbol` gets each distribution, (1, V)."""
    predictor, lanes = subject.factory(), max(1, subject.lanes)
    for first in range(0, len(lengths), lanes):
        group = list(range(first, min(first + lanes, len(lengths))))
        predictor.begin(group if subject.lanes else group[0])
        for place in range(max(lengths[document] for document in group)):
            rows = np.atleast_2d(np.array(predictor.probabilities(), np.float64))
            symbols = np.full(len(group), -1, np.int64)
            for lane, document in enumerate(group):
                if place < lengths[document]:
                    symbols[lane] = next_symbol(document, place, whole(rows[lane]))
                    yield document, place, int(symbols[lane])
            predictor.observe(symbols if subject.lanes else int(symbols[0]))


def whole(p: Floats) -> Floats:
    """Probabilities (V,) as the (1, V) extras of coding/range_coder.py: whole, their sum 2^24 - V."""
    free = TOTAL - len(p)
    extras = np.floor(p * (free / p.sum()) * (1 - 2.0**-40))
    extras[np.argmax(extras)] += free - extras.sum()
    return np.asarray(extras[None])


CHECKS = [
    Check("T13", "round trip", "the text comes back from as many bits as the score says", round_trip),
]
