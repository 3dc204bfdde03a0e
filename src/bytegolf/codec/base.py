"""What a codec is: a pure pair encode/decode between a float32 tensor and bytes.

A codec holds no state and no options: its name says all there is to know, so that a name in an artifact's header
is enough to read its tensors for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import ArtifactError
from bytegolf.registry import lookup


@dataclass(frozen=True)
class Integers:
    """A tensor as whole numbers: weight = scales[r] * codes[r, c].

    codes int64 (rows, cols), scales float64 (rows,), rows as in row_scales.py. `decode` gives these products
    rounded to float32; only ecsq has products that need more than its 24 bits.
    """

    codes: NDArray[np.int64]
    scales: NDArray[np.float64]


class Codec(Protocol):
    """One way to store a tensor. Shapes are free: a scalar is one row of one, a vector is one row."""

    name: str
    flawed: bool  # kept to reproduce a published flaw and to measure its price; nothing proposes it

    def encode(self, weights: NDArray[np.float32]) -> bytes:
        """The blob. Raises ArtifactError when the codec cannot represent a weight (not finite, too large)."""

    def decode(self, blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
        """The tensor back, of the given shape. Raises ArtifactError when the blob is not one of this shape."""

    def integers(self, blob: bytes, shape: Sequence[int]) -> Integers:
        """The same tensor as the whole numbers that the blob stores. Raises ArtifactError like `decode`."""

    def nbytes(self, weights: NDArray[np.float32]) -> int:
        """len(encode(weights)), exactly."""

    def expected_bytes(self, shape: Sequence[int], std: float, pruned: float = 0.0) -> float:
        """The codec's size law: the mean of len(encode(w)) over tensors of this shape of independent N(0, std^2).

        `pruned`: the share of smallest |w| that is zero, as `prune.magnitude_prune` leaves it. std = 0 means a
        tensor of zeros. A pure function of its arguments; no weights are drawn. Each codec states its formula
        and its assumptions; codec/gaussian.py has the mathematics. tests/codec/test_law.py holds every
        registered codec to it.
        """


def get(name: str, where: object = None) -> Codec:
    """The codec of that name. Raises ConfigError, with the closest names, when there is none."""
    codec: Codec = lookup("codec", name, where=where)()
    return codec


def check_finite(weights: NDArray[np.float32]) -> None:
    """Raise ArtifactError when a weight is infinite or not a number."""
    bad = int(weights.size - np.count_nonzero(np.isfinite(weights)))
    if bad:
        raise ArtifactError(
            "only finite weights can be packed",
            got=f"{bad} of {weights.size} infinite or not a number",
            fix="the training diverged: lower the learning rates, or pack an earlier checkpoint",
        )
