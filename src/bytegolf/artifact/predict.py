"""The bytes of an artifact before anything is trained: shapes and codecs -> a ledger, with an interval.

Two figures a tensor, never mixed:

gaussian  the codec's own size law (`Codec.expected_bytes`) for independent normal weights. Exact mathematics, held
          to real encodings within 0.5 %. No measurement of a trained model is in it.
expected  the law plus the bits a weight by which trained weights of that family were measured to differ from it
          (`PEAK_SCALED`, `OTHERWISE`). The interval (low, high) is the law plus the smallest and the largest
          deviation measured, all families at their extreme at once, and for codecs with a floor half and twice the
          scale.

Why trained weights differ: a codec whose step follows the largest weight of a row (`IntRows`) spends fewer bits
where the tails are heavier than normal (what an MLP writes through, -0.24 bits) and more where weights still look
like their uniform start (+0.17 bits after 120 steps). The difference is the same at int8, int6 and int5, since it
moves log2(step / std) and nothing else. So it depends on how long training lasts; it is interpolated in log(steps)
between about 120 steps (the mean of four short trainings) and about 900 (`pocket`). Runs, figures and conditions:
LOG.md, "predicted bytes". Nothing here was measured on a model of 16 MB or beyond 936 steps.

The header is built by the code that builds real ones, so it errs by the digits of a few sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bytegolf.artifact import header as header_json
from bytegolf.artifact.format import FIXED_BYTES
from bytegolf.artifact.header import TensorRow, TokenizerRow
from bytegolf.artifact.ledger import Ledger, Row, by_role
from bytegolf.codec import base
from bytegolf.codec.ecsq import Ecsq
from bytegolf.codec.int_rows import IntRows


@dataclass(frozen=True)
class Deviation:
    """Bits a weight by which trained tensors differ from the law: after ~120 steps, after ~900, extremes."""

    short: float
    long: float
    low: float
    high: float


SHORT_STEPS, LONG_STEPS = 120, 900

# Codecs whose step follows the largest weight of a row. Family: what a tensor is, and how it starts where that
# still shows. Measured on five trainings, see LOG.md.
PEAK_SCALED: dict[str, Deviation] = {
    "embed": Deviation(0.01, -0.03, -0.05, 0.14),
    "table": Deviation(0.12, 0.04, 0.0, 0.21),
    "head": Deviation(0.16, 0.0, -0.06, 0.17),  # one untied model; `long` is the law itself
    "matrix from uniform": Deviation(0.17, -0.04, -0.1, 0.2),
    "matrix from orthogonal": Deviation(0.0, 0.0, -0.1, 0.04),
    "matrix from zeros": Deviation(0.01, -0.02, -0.1, 0.2),
    "MLP output": Deviation(-0.17, -0.24, -0.4, 0.06),
    "vector": Deviation(-1.2, -1.1, -2.6, 0.2),
}
# All other codecs: the law itself, but for vectors, which are no noise around 0.
OTHERWISE = {"vector": Deviation(-2.1, -0.9, -3.8, 0.2)}
# ecsq: its step follows the row's root mean square, and there normal weights are the most expensive. Corrections
# of the centre were tried and missed by as much as the law does.
_RMS_SCALED = Deviation(0.0, 0.0, -0.12, 0.01)
_UNMEASURED = Deviation(0.0, 0.0, -0.2, 0.38)  # fp16: the extremes measured

# Where training takes the weights after about 120 and about 900 steps, for the codecs to which absolute size
# matters (floors): std of a matrix times sqrt(its columns), std of anything else. Means over the same trainings;
# single tensors lie up to a factor of two off, which the interval covers. The head's second figure is a guess.
TRAINED_SCALE = {
    "matrix": (0.55, 2.0),
    "embed": (0.17, 0.35),
    "table": (0.14, 0.39),
    "head": (0.1, 0.2),
    "gate": (0.26, 0.9),
    "scalar": (0.16, 0.5),
}
SCALE_FACTOR = 2.0


def trained_std(role: str, shape: Sequence[int], steps: int | None = None) -> float:
    """The standard deviation that is assumed of a trained tensor after about `steps` steps (`TRAINED_SCALE`)."""
    short, long = TRAINED_SCALE[role]
    scale = short * math.pow(long / short, _progress(steps))
    return scale / math.sqrt(shape[-1]) if role == "matrix" and shape else scale


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor that does not exist yet.

    std: of its trained weights; 0 = it stays zero (no gradient ever reaches it). pruned: share of weights that
    packing sets to 0. family: a key of PEAK_SCALED; any other name means the Gaussian law with a wide interval.
    """

    name: str
    role: str
    codec: str
    shape: tuple[int, ...]
    std: float
    pruned: float = 0.0
    family: str = ""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Prediction:
    """Ledgers of a file that does not exist: `expected` after training, `gaussian` by the law alone.

    low, high: bytes by role, the interval around `expected`.
    """

    expected: Ledger
    gaussian: Ledger
    low: Mapping[str, int]
    high: Mapping[str, int]

    @property
    def total(self) -> int:
        return self.expected.total

    @property
    def interval(self) -> tuple[int, int]:
        """Total bytes with every role at its lower end, and at its upper end."""
        rest = self.total - sum(row.bytes for row in self.expected.roles)
        return sum(self.low.values()) + rest, sum(self.high.values()) + rest

    def to_json(self) -> dict[str, Any]:
        """A plain dict: the expected ledger, and beside it the law's total and the interval."""
        roles = [
            row.to_json() | {"low": self.low[row.name], "high": self.high[row.name]}
            for row in self.expected.roles
        ]
        low, high = self.interval
        fields = self.expected.to_json() | {"roles": roles}
        return fields | {"low": low, "high": high, "gaussian": self.gaussian.total}


def predict(
    tensors: Sequence[PlannedTensor],
    config: Mapping[str, Any],
    tokenizer_kind: str,
    vocab_size: int,
    provenance: Mapping[str, Any],
    steps: int | None = None,
) -> Prediction:
    """What `pack` would write for these tensors, trained for about `steps` steps (None: for long).

    `config` and `provenance` as the artifact would carry them; only their lengths count. Raises ConfigError for an
    unknown codec, ArtifactError for what JSON cannot hold. Cost: 10 to 60 ms for each pair of codec and shape,
    three times that where size matters, and nothing the second time.
    """
    frame = (config, tokenizer_kind, vocab_size, provenance)
    ends = {
        end: {
            row.name: row.bytes for row in _spend(tensors, [_extreme(t, end) for t in tensors], *frame).roles
        }
        for end in ("low", "high")
    }
    expected = expected_ledger(tensors, *frame, steps)
    gaussian = _spend(tensors, [_law(t) for t in tensors], *frame)
    return Prediction(expected, gaussian, ends["low"], ends["high"])


def expected_ledger(
    tensors: Sequence[PlannedTensor],
    config: Mapping[str, Any],
    tokenizer_kind: str,
    vocab_size: int,
    provenance: Mapping[str, Any],
    steps: int | None = None,
) -> Ledger:
    """`predict(...).expected` alone."""
    sizes = [tensor_bytes(tensor, steps) for tensor in tensors]
    return _spend(tensors, sizes, config, tokenizer_kind, vocab_size, provenance)


def tensor_bytes(tensor: PlannedTensor, steps: int | None = None) -> float:
    """Expected bytes of one tensor's blob after about `steps` steps of training (None: many)."""
    deviation = _deviation(tensor)
    return _deviated(tensor, deviation.short + _progress(steps) * (deviation.long - deviation.short))


def tokenizer_bytes(kind: str, vocab_size: int) -> int:
    """Bytes of a tokenizer that is not trained yet. `bytes`: its head alone. `bpe`: head and merges.

    The k-th merge takes 2 bit_length(255 + k) bits, exactly (data/tokenizer.py); the head of 145 bytes is that of
    the default pattern. 2,001 bytes for 1,024 entries, 4,818 for 2,048, 10,961 for 4,096, as the built ones have.
    """
    if kind == "bytes":
        return _BYTES_TOKENIZER
    merges = max(0, vocab_size - 257)
    bits = 2 * sum((255 + k).bit_length() for k in range(merges))
    return _BPE_HEAD + len(str(merges)) + (bits + 7) // 8


_BYTES_TOKENIZER, _BPE_HEAD = 21, 145


def _progress(steps: int | None) -> float:
    """0 at SHORT_STEPS or fewer, 1 at LONG_STEPS or more or None, linear in log(steps) between."""
    at = math.log(max(steps or LONG_STEPS, 1) / SHORT_STEPS) / math.log(LONG_STEPS / SHORT_STEPS)
    return min(max(at, 0.0), 1.0)


def _extreme(tensor: PlannedTensor, end: str) -> float:
    sizes = [
        _deviated(tensor, getattr(_deviation(tensor), end), factor)
        for factor in (1 / SCALE_FACTOR, 1.0, SCALE_FACTOR)
    ]
    return min(sizes) if end == "low" else max(sizes)


def _deviated(tensor: PlannedTensor, bits: float, factor: float = 1.0) -> float:
    """The law at `factor` times the scale, plus `bits` a weight; never less than half the law, nor than 1 byte."""
    law = _law(tensor, factor)
    return max(law + bits * tensor.elements / 8, law / 2, min(law, 1.0)) if tensor.std else law


def _deviation(tensor: PlannedTensor) -> Deviation:
    codec = base.get(tensor.codec)
    if isinstance(codec, IntRows):
        return PEAK_SCALED.get(tensor.family, _UNMEASURED)
    return OTHERWISE.get(tensor.family, _RMS_SCALED if isinstance(codec, Ecsq) else _UNMEASURED)


def _law(tensor: PlannedTensor, factor: float = 1.0) -> float:
    return _expected_bytes(tensor.codec, tensor.shape, tensor.std * factor, tensor.pruned)


@lru_cache(maxsize=4096)
def _expected_bytes(codec: str, shape: tuple[int, ...], std: float, pruned: float) -> float:
    return base.get(codec).expected_bytes(shape, std, pruned)


def _spend(
    tensors: Sequence[PlannedTensor],
    sizes: Sequence[float],
    config: Mapping[str, Any],
    tokenizer_kind: str,
    vocab_size: int,
    provenance: Mapping[str, Any],
) -> Ledger:
    """The ledger of tensors of these sizes, under a header that is built for real."""
    rows = [Row(t.name, t.codec, 1, t.elements, round(s)) for t, s in zip(tensors, sizes, strict=True)]
    stored = [
        TensorRow(t.name, t.role, t.codec, t.shape, row.bytes, "0" * 8)
        for t, row in zip(tensors, rows, strict=True)
    ]
    size = tokenizer_bytes(tokenizer_kind, vocab_size)
    tokenizer = TokenizerRow(tokenizer_kind, vocab_size, size, "0" * 8, "0" * 64)
    header = len(header_json.dump(config, tokenizer, stored, provenance))
    return Ledger(by_role([t.role for t in tensors], rows), size, header, FIXED_BYTES, tuple(rows))
