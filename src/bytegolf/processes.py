"""Worker processes: started so that Ctrl-C is their parent's alone, and errors that travel between processes."""

from __future__ import annotations

import contextlib
import pickle
import signal
import traceback
from collections.abc import Iterator
from multiprocessing import resource_tracker

from bytegolf.errors import UserError


@contextlib.contextmanager
def interrupted_later() -> Iterator[None]:
    """Ctrl-C waits until the end. Processes started here never hear it: their parent does, and ends them.

    A process inherits what is blocked; to ignore it once it runs would be too late, it takes a moment to come up.
    """
    resource_tracker.ensure_running()  # the first process starts it, and that would let Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def portable(error: Exception) -> Exception:
    """The error as another process can receive it, with the place where it was raised unless a user made it."""
    if isinstance(error, UserError):
        plain = type(error)(error.rule)
        plain.__dict__.update(
            {key: value if value is None else str(value) for key, value in vars(error).items()}
        )
        return plain
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker process:\n{trace}")
    return error
