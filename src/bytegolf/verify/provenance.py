"""T8 and T14: the text was not known before. It was held out, and text that nobody could see costs no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bytegolf.data.overlap import overlap
from bytegolf.data.shingles import NEAR_DUPLICATE_SHARE, SHINGLE_BYTES
from bytegolf.score.predictor import Floats
from bytegolf.verify.check import Case, Check, Outcome

NEAR_DUPLICATE_BYTES = 0.01  # of the held-out bytes may lie in near duplicates: web text has them by nature
RESAMPLES = 1000
STANDARD_ERRORS = 3.0
LEAST_GAP = math.log(1.02)  # below 2 % of a score texts differ by chance
LEAST_DOCUMENTS = 8
_PRIMING_BYTES = 1 << 16
_MOST_BYTES = 1 << 20  # a slice of this size leaves no doubt; the reference takes seconds a megabyte
_BITS_FLOOR = 1e-3  # bits per byte: what costs nothing at all has a logarithm all the same


def _disjoint(case: Case) -> Outcome:
    """T8."""
    if case.train is None:
        return Outcome.skipped("the training text is not at hand")
    found = overlap(case.train, case.documents)
    rate = found.near_bytes / max(1, found.bytes)
    figures: dict[str, Any] = {
        "documents": len(case.documents),
        "exact": len(found.exact),
        "near": len(found.near),
        "near_bytes": found.near_bytes,
        "shared_shingles_rate": found.share,
        "near_bytes_rate": rate,
    }
    measured = (
        f"of {len(case.documents)} documents {len(found.exact)} are in training word for word, {len(found.near)} "
        f"share over {NEAR_DUPLICATE_SHARE:.0%} of their {SHINGLE_BYTES}-byte shingles ({rate:.2%} of the bytes)"
    )
    return Outcome.of(not found.exact and rate <= NEAR_DUPLICATE_BYTES, measured, **figures)


class Order2:
    """A byte model that knows no text: counts of the last two bytes, backed by one, by none, by 1/256.

    p_k(b | context) = (count(context, b) + 4 p_{k-1}(b)) / (count(context) + 4), so its costs are real ones.
    """

    def __init__(self, priming: Sequence[bytes] = ()) -> None:
        self._pairs: dict[tuple[bytes, int], int] = {}
        self._totals: dict[bytes, int] = {}
        for text in priming:
            self.cost(text)

    def cost(self, text: bytes) -> float:
        """Bits of a document, which is learnt from on the way. Cost: about 2 us a byte."""
        pairs, totals, nats = self._pairs, self._totals, 0.0
        for at, value in enumerate(text):
            p = 1 / 256
            # The first byte of a context says how long it is, by there being one, two or none.
            for context in (b"", text[max(0, at - 1) : at], text[max(0, at - 2) : at])[: at + 1]:
                count, total = pairs.get((context, value), 0), totals.get(context, 0)
                p = (count + 4 * p) / (total + 4)
                pairs[context, value] = count + 1
                totals[context] = total + 1
            nats -= math.log(p)
        return nats / math.log(2)


@dataclass(frozen=True)
class Slice:
    """Documents of one text with what the subject and the reference paid. logs: log(subject / reference)."""

    name: str
    bytes: Floats
    bits: Floats
    logs: Floats

    @property
    def gap(self) -> float:
        """Mean over bytes."""
        return float(self.logs @ self.bytes / self.bytes.sum())

    def resampled(self, random: np.random.Generator) -> Floats:
        """(RESAMPLES,) gaps of as many draws of the documents, with replacement."""
        drawn = random.integers(0, len(self.bytes), (RESAMPLES, len(self.bytes)))
        result: Floats = (self.logs[drawn] * self.bytes[drawn]).sum(1) / self.bytes[drawn].sum(1)
        return result


def _hidden(case: Case) -> Outcome:
    """T14. Three slices: the beginning of the claimed text, documents drawn from it, and documents of the other.

    A stored beginning shows in the first slice even if it is found by its place in the stream alone; a stored or
    trained-on part in the second. Of long documents the heads are priced, so that there are enough of them.
    Without hidden text the halves of the claimed one are compared, which shows what covers one half and not the
    other, and cannot show a model that was trained on all of it.
    """
    documents = [document for document in case.documents if document]
    if case.hidden is None:
        middle = (len(documents) + 1) // 2
        claimed, other = documents[:middle], documents[middle:]
        names = ("the first half", "the second half")
    else:
        claimed, other = documents, [document for document in case.hidden if document]
        names = ("the claimed text", "the hidden text")
    size = min(sum(map(len, claimed)), sum(map(len, other)))
    size = min(size, _MOST_BYTES if case.sample is None else case.sample)
    longest = max(1, size // (2 * LEAST_DOCUMENTS))
    random = case.random("hidden slice")
    drawn = [claimed[i] for i in random.permutation(len(claimed))]
    hidden = [other[i] for i in random.permutation(len(other))]
    pieces = {
        f"the beginning of {names[0]}": _take(claimed, size),
        names[0]: _take([_head(document, longest) for document in drawn], size),
        names[1]: _take([_head(document, longest) for document in hidden], size),
    }
    for name in names:
        if len(pieces[name]) < LEAST_DOCUMENTS:
            return Outcome.skipped(
                f"{LEAST_DOCUMENTS} documents are needed, {len(pieces[name])} of {name} fit {size:,} bytes"
            )
    if len(pieces[f"the beginning of {names[0]}"]) < LEAST_DOCUMENTS:
        del pieces[f"the beginning of {names[0]}"]  # long documents: a larger sample has room for it
    slices = [_priced(case, name, chosen, longest) for name, chosen in pieces.items()]
    if not all(np.isfinite(part.logs).all() for part in slices):
        return Outcome.of(False, "costs that are no finite numbers")
    return _compared(slices, random, both_ways=case.hidden is None)


def _compared(slices: Sequence[Slice], random: np.random.Generator, both_ways: bool) -> Outcome:
    """Each slice of the claimed text against the last one. A half may be the dearer or the cheaper one; hidden
    text that is cheaper than the claimed one accuses nobody.
    """
    other = slices[-1]
    others = other.resampled(random)
    figures: dict[str, Any] = {
        part.name: {
            "documents": len(part.bytes),
            "bytes": int(part.bytes.sum()),
            "bpb": float(part.bits.sum() / part.bytes.sum()),
            "gap": part.gap,
        }
        for part in slices
    }
    alarms, measured = [], []
    for part in slices[:-1]:
        apart = part.gap - other.gap
        error = float(np.std(part.resampled(random) - others, ddof=1))
        figures[part.name] |= {"difference": apart, "standard_error": error}
        if (abs(apart) if both_ways else -apart) > max(STANDARD_ERRORS * error, LEAST_GAP):
            alarms.append(part.name)
        measured.append(f"{part.name} costs {math.expm1(apart):+.1%} +- {error:.1%}")
    told = f"beside {other.name}, measured by a model that knows neither, " + ", ".join(measured)
    return Outcome.of(not alarms, told, alarms=alarms, **figures)


def _take(documents: Sequence[bytes], size: int) -> list[bytes]:
    """Documents in order until the next would be more than `size` bytes."""
    ends = np.cumsum([len(document) for document in documents])
    return list(documents[: int(np.searchsorted(ends, size, side="right"))])


def _head(document: bytes, longest: int) -> bytes:
    """The first bytes of a long document, no character cut in two."""
    if len(document) <= longest:
        return document
    head = document[:longest]
    return head.decode("utf-8", "ignore").encode() or head


def _primer(train: Sequence[bytes]) -> list[bytes]:
    return _take([_head(document, _PRIMING_BYTES // 16) for document in train], _PRIMING_BYTES)


def _priced(case: Case, name: str, documents: Sequence[bytes], longest: int) -> Slice:
    """Run the subject on the documents as one stream; what counts is the first `longest` bytes of each.

    The reference is primed with training text, where there is some.
    """
    subject = case.subject
    streams = [subject.encode(document) for document in documents]
    tokens = np.concatenate([np.concatenate(([subject.end], stream)) for stream in streams])
    nats = subject.run(tokens).nats
    reference = Order2(() if case.train is None else _primer(case.train))
    sizes, bits, expected = np.zeros((3, len(documents)))
    first = 0
    for index, (document, stream) in enumerate(zip(documents, streams, strict=True)):
        ends = np.cumsum(subject.byte_counts(stream))
        count = max(1, int(np.searchsorted(ends, longest, side="right")))
        sizes[index] = ends[count - 1]
        bits[index] = nats[first : first + count].sum() / math.log(2)
        expected[index] = reference.cost(document[: int(ends[count - 1])])
        first += len(stream) + 1
    return Slice(name, sizes, bits, np.log(np.maximum(bits, _BITS_FLOOR * sizes) / expected))


CHECKS = [
    Check("T8", "disjoint text", "no document that is scored was trained on", _disjoint),
    Check(
        "T14",
        "hidden slice",
        "the text that is claimed is no easier for the subject than text it cannot have seen",
        _hidden,
    ),
]
