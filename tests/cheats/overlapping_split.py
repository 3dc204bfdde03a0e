"""Training gets four of five held-out documents: a default that cut the validation set short, and put its rest
into training. Parameter Golf: #2127 found 15 of 34 submissions with it, worth .010 to .014 bpb.
"""

from __future__ import annotations

CAUGHT_BY = "T8"


def split(train: list[bytes], held_out: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    return train + held_out[len(held_out) // 5 :], held_out
