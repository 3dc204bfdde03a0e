"""Batches made ahead of the step that wants them, in a thread."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Self

from bytegolf.data.loader import Batch, Batches

DEPTH = 4


class Prefetched:
    """`batch(step)` for steps in a row from `first` on, up to DEPTH of them made before they are asked for.

    What goes wrong in the thread is raised by the call that wanted the batch. A context manager: on leaving, the
    thread ends. The batches are those of `batches`, whatever the timing.
    """

    def __init__(self, batches: Batches, first: int = 0) -> None:
        self.batches, self.next = batches, first
        self._made: queue.Queue[Batch | Exception] = queue.Queue(DEPTH)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(first,), name="loader", daemon=True)

    def batch(self, step: int) -> Batch:
        """Raises what making it raised."""
        assert step == self.next, "batches come in the order of their steps"
        self.next += 1
        made = self._made.get()
        if isinstance(made, Exception):
            raise made
        return made

    def _make(self, step: int) -> None:
        while not self._over.is_set():
            made: Batch | Exception
            try:
                made = self.batches.batch(step)
            except Exception as error:  # handed on to who wanted the batch
                made = error
            while not self._over.is_set():
                try:
                    self._made.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(made, Exception):
                return
            step += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
