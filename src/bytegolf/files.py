"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write into under a temporary name in the same folder; renamed into place when all went well.

    Raises OSError (full disk, read-only folder). After that, and after any error inside the context, no temporary
    file stays and an older file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: Path, *parts: bytes) -> None:
    """Write `parts` back to back by way of `atomic`, and raise as it does."""
    with atomic(path) as file:
        file.writelines(parts)
