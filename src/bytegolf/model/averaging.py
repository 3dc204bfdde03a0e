"""The rules of weight averages: when a snapshot is taken, what it weighs, how many make an average."""

from __future__ import annotations

from bytegolf.config.schema import Ema, Swa


def takes_snapshot(config: Ema | Swa, multiplier: float, step: int) -> bool:
    """After step `step`, counted from 0, which had the learning-rate multiplier `multiplier`?"""
    if isinstance(config, Ema):
        return True
    return multiplier < config.below and (step + 1) % config.every == 0


def least_snapshots(config: Ema | Swa) -> int:
    """With fewer the last weights are the result: one snapshot of SWA is no average."""
    return 2 if isinstance(config, Swa) else 1


def share(config: Ema | Swa, count: int) -> float:
    """s of avg <- avg + s (w - avg) for the snapshot after `count` others; the first one is the average."""
    if count == 0:
        return 1.0
    return 1.0 - config.decay if isinstance(config, Ema) else 1.0 / (count + 1)
