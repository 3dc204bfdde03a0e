"""The processes that train or score one model together, as the floors above see them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class World(Protocol):
    """`size` processes with the ranks 0, .., size - 1. All of them call the methods below in the same order.

    A context manager: on leaving, the process has left the others.
    """

    rank: int
    size: int

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """The values (n,) of every rank, (size, n)."""
        ...

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The elementwise sum over the ranks. Where all but one give 0.0 it is exact."""
        ...

    def share(self, value: Any) -> Any:
        """What rank 0 has; the others give anything. For plain data and arrays, now and then."""
        ...

    def wait(self) -> None:
        """Go on when every rank has come here."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


class Alone:
    """The world of a single process."""

    rank = 0
    size = 1

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([values], dtype=np.float64)

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values

    def share(self, value: Any) -> Any:
        return value

    def wait(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


ALONE = Alone()
