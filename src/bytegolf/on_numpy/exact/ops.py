"""The few array operations of the exact arithmetic, and numpy as their first executor.

Every value is a float64, or an int64 that came from a table or goes into one. A sum (`@`, `dot`, `total`) is
taken over whole numbers only, with a bound below 2^53 on the sum of magnitudes, so that every partial sum is
exact and no order of summation, no batch shape, no fused multiply-add inside a kernel changes it. All else is
one IEEE operation an element (+, -, *, /, sqrt), rounding to a whole number, a comparison or a gather.
Nothing may fuse two of these: no compilation of this code. Only arrays divide arrays: with a plain number on
either side torch multiplies by a reciprocal, which rounds twice.

Another executor (torch, on any device with float64) supplies the same names; arrays must also know + - * / @,
comparison, basic indexing, `reshape`, `swapaxes`, `abs` and `shape`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any  # of the executor: numpy.ndarray, or torch.Tensor


class Ops(Protocol):
    """What an executor supplies. `Array` is its own kind of array, float64 unless said otherwise."""

    def array(self, values: NDArray[Any]) -> Array: ...
    def numpy(self, x: Array) -> NDArray[Any]: ...
    def rint(self, x: Array) -> Array: ...
    def floor(self, x: Array) -> Array: ...
    def sqrt(self, x: Array) -> Array: ...
    def clip(self, x: Array, low: float, high: float) -> Array: ...
    def total(self, x: Array) -> Array: ...
    def dot(self, x: Array, y: Array) -> Array: ...
    def max(self, x: Array) -> Array: ...
    def argmax(self, x: Array) -> Array: ...
    def index(self, x: Array) -> Array: ...
    def exponent(self, x: Array) -> Array: ...
    def gather(self, table: Array, index: Array) -> Array: ...
    def rows(self, table: Array, index: NDArray[np.int64]) -> Array: ...
    def columns(self, x: Array, index: NDArray[np.int64]) -> Array: ...
    def masked(self, x: Array, hidden: Array, value: float) -> Array: ...
    def mask(self, values: NDArray[np.bool_]) -> Array: ...
    def concat(self, parts: list[Array], axis: int) -> Array: ...
    def zeros(self, shape: tuple[int, ...]) -> Array: ...
    def contiguous(self, x: Array) -> Array: ...
    def add_at(self, x: Array, index: Array, value: Array) -> Array: ...


class NumpyOps:
    """numpy; sums, maxima and gathers go over the last axis."""

    def array(self, values: NDArray[Any]) -> Array:
        return np.ascontiguousarray(values)

    def numpy(self, x: Array) -> NDArray[Any]:
        return np.asarray(x)

    rint = staticmethod(np.rint)
    floor = staticmethod(np.floor)
    sqrt = staticmethod(np.sqrt)

    def clip(self, x: Array, low: float, high: float) -> Array:
        return x.clip(low, high)

    def total(self, x: Array) -> Array:
        return np.add.reduce(x, axis=-1)

    def dot(self, x: Array, y: Array) -> Array:
        return np.vecdot(x, y)

    def max(self, x: Array) -> Array:
        return np.maximum.reduce(x, axis=-1)

    def argmax(self, x: Array) -> Array:
        """The first of the largest."""
        return x.argmax(axis=-1)

    def index(self, x: Array) -> Array:
        """Whole numbers, below 2^62 in magnitude, as int64."""
        return x.astype(np.int64)

    def exponent(self, x: Array) -> Array:
        """int64 e with |x| = m 2^e, 1/2 <= m < 1; 0 for 0."""
        return np.frexp(x)[1].astype(np.int64)

    def gather(self, table: Array, index: Array) -> Array:
        """table[index] of a one-dimensional table; an int64 index beyond an end means that end."""
        return table.take(index, mode="clip")

    def rows(self, table: Array, index: NDArray[np.int64]) -> Array:
        return table.take(index, axis=0)

    def columns(self, x: Array, index: NDArray[np.int64]) -> Array:
        """x[..., index]."""
        return x.take(index, axis=-1)

    def masked(self, x: Array, hidden: Array, value: float) -> Array:
        """x, with `value` where hidden."""
        return np.where(hidden, value, x)

    def mask(self, values: NDArray[np.bool_]) -> Array:
        return values

    def concat(self, parts: list[Array], axis: int) -> Array:
        return np.concatenate(parts, axis=axis)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape)

    def contiguous(self, x: Array) -> Array:
        return np.ascontiguousarray(x)

    def add_at(self, x: Array, index: Array, value: Array) -> Array:
        """x (N, V), in place, with value[n] added at index[n] of row n."""
        x[np.arange(len(x)), index] += value
        return x
