"""Curves that depend on progress alone. Pure functions, so every backend and every test sees the same ones."""

from __future__ import annotations

import math


def trapezoid(progress: float, warmup: float, warmdown: float, floor: float) -> float:
    """Learning-rate multiplier at progress p in [0, 1].

    p < warmup: p / warmup.  p > 1 - warmdown: linear from 1 to `floor`.  Otherwise 1; `floor` from p = 1 on.
    """
    if progress < warmup:
        return progress / warmup
    if progress >= 1.0:
        return floor if warmdown > 0 else 1.0
    if progress > 1.0 - warmdown:
        return floor + (1.0 - floor) * (1.0 - progress) / warmdown
    return 1.0


def warmdown(remaining: float, per_step: float, steps: int) -> float:
    """Learning-rate multiplier that falls from 1 to 0 over the last `steps` steps of a budget.

    remaining: what is left of the budget; per_step: what a step takes of it, same unit (for seconds the mean so
    far; 0 before the first step, which gives 1). min(1, remaining / (steps per_step)), PG baseline.
    """
    length = steps * per_step
    return max(remaining, 0.0) / length if remaining < length else 1.0


def ramp(step: int, start: float, end: float, steps: int) -> float:
    """Linear from `start` at step 0 to `end` at step `steps`, then `end` (momentum warm-up)."""
    if step >= steps:
        return end
    return start + (end - start) * step / steps


def half_cosine(step: int, steps: int) -> float:
    """Learning-rate multiplier (1 + cos(pi step / steps)) / 2: from 1 to 0, then 0. Without steps always 1."""
    if not steps:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * step / steps)) if step < steps else 0.0
