"""Held-out documents come back in training with a word changed here and there: none is equal, all are known.

No published case: nobody looked for what sha256 does not find. The web is full of it.
"""

from __future__ import annotations

CAUGHT_BY = "T8"


def split(train: list[bytes], held_out: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    changed = [b"Copied. " + document.replace(b"with", b"without", 1) for document in held_out[::4]]
    return train + changed, held_out
