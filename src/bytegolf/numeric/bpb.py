"""Nats -> bits per byte, in one place."""

from __future__ import annotations

import math


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """bpb = nats / (ln 2 * bytes): total negative log-likelihood over the bytes of the raw text."""
    if n_bytes <= 0:
        raise ValueError("bits per byte need at least one byte")
    return nats / (math.log(2) * n_bytes)
