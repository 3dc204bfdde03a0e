"""Locks that the system takes back when their holder dies, by whatever death: flock(2) on a file of the sweep.

On one machine that is certain. On a shared folder it is as good as the file system: NFS passes locks on to its
server, which drops those of a machine that is gone after its lease. A file system that has none is an error.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bytegolf.errors import RunError


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Waits until nobody else is inside."""
    file = _open(path)
    try:
        _flock(file, fcntl.LOCK_EX, path)
        yield
    finally:
        os.close(file)


def shared(path: Path) -> int | None:
    """A lock that several may hold; an open file, whose closing gives it back. None: somebody has it alone."""
    return _try(path, fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock."""
    file = _try(path, fcntl.LOCK_EX)
    if file is not None:
        os.close(file)
    return file is None


def _try(path: Path, kind: int) -> int | None:
    file = _open(path)
    try:
        _flock(file, kind | fcntl.LOCK_NB, path)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _flock(file: int, kind: int, path: Path) -> None:
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        raise
    except OSError as error:
        raise RunError(
            f"a sweep needs a folder whose file system has locks: {error.strerror}",
            where=path.parent,
            fix="choose another place with --out",
        ) from None
