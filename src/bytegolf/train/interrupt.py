"""Ctrl-C and SIGTERM, twice: the first asks the loop to stop and save, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def graceful_interrupt(patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether one of SIGNALS came. Outside the main thread they are left alone.

    patient: the second changes nothing. For processes of torchrun, which passes on the Ctrl-C that they have had
    from the terminal already, and ends by force those that take too long.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def first(_signal: int, _frame: FrameType | None) -> None:
        asked.set()
        if not patient:
            restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.signal(number, first) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        restore()
