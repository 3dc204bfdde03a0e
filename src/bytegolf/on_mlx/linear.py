"""Products with the matrices of the model, and the changes that test-time training makes to them for each row."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import mlx.core as mx

Change = tuple[mx.array, mx.array, mx.array]  # W (o, i), A (B, r, i), B (B, o, r)


def linear(x: mx.array, weight_oi: mx.array) -> mx.array:
    """x W^T in the dtype of x; within `Changed` x W^T + (x A^T) B^T for a W that has a change."""
    out = x @ weight_oi.astype(x.dtype).T
    if _changed is None:
        return out
    change = _changed.of(weight_oi)
    if change is None:
        return out
    a_Bri, b_Bor = change
    return out + x @ a_Bri.swapaxes(-1, -2) @ b_Bor.swapaxes(-1, -2)


class Changed:
    """Within `with`, `linear` adds the change of each row of x (B, T, i). One at a time.

    A change that no product used would be a score without it, so leaving the block checks that all were used.
    """

    def __init__(self, changes: Iterable[Change]) -> None:
        # The matrices are kept: an id is the name of an object for as long as it lives.
        self._changes = {id(weight): (weight, a_Bri, b_Bor) for weight, a_Bri, b_Bor in changes}
        self._unused = set(self._changes)

    def of(self, weight: mx.array) -> tuple[mx.array, mx.array] | None:
        """A and B of this matrix, if it has a change."""
        if id(weight) not in self._changes:
            return None
        self._unused.discard(id(weight))
        return self._changes[id(weight)][1:]

    def __enter__(self) -> None:
        global _changed
        assert _changed is None, "changes do not add up"
        _changed = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        global _changed
        _changed = None
        assert kind is not None or not self._unused, "a matrix with a change took no part in the forward pass"


_changed: Changed | None = None
