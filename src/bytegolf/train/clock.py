"""The clock of a training run: it counts training, and what is no training apart, by name."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of training, from `seconds` on. Runs by the monotonic clock: nobody can set it forward or back.

    aside: seconds spent on what is not training (warm-up, checkpoints, validation), during which the clock stood.
    """

    def __init__(self, seconds: float = 0.0, aside: dict[str, float] | None = None) -> None:
        self._counted, self._since = seconds, time.perf_counter()
        self.aside: dict[str, float] = defaultdict(float, aside or {})

    @property
    def seconds(self) -> float:
        return self._counted + time.perf_counter() - self._since

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """What is done inside counts as `name` and not as training. Not to be nested."""
        before = self.seconds
        start = time.perf_counter()
        try:
            yield
        finally:
            self.aside[name] += time.perf_counter() - start
            self._counted, self._since = before, time.perf_counter()
