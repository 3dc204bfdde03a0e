"""Rectangles whose areas are sizes: squarified treemaps (Bruls, Huizing and van Wijk 2000)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """One box for each of `sizes`, in their order: they tile `box`, each with its share of the area.

    Rows are filled along the shorter side, largest first, for as long as that makes the least square member of the
    row squarer. Nothing is negative and something is positive.
    """
    scale = box.width * box.height / sum(sizes)
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    boxes = [Box(box.x, box.y, 0.0, 0.0)] * len(sizes)
    left = [i for i in order if sizes[i] > 0]
    while left:
        side = min(box.width, box.height)
        taken = 1
        while taken < len(left) and _worst(_areas(sizes, left[: taken + 1], scale), side) <= _worst(
            _areas(sizes, left[:taken], scale), side
        ):
            taken += 1
        row, left = left[:taken], left[taken:]
        placed, box = _row(_areas(sizes, row, scale), box)
        for i, one in zip(row, placed, strict=True):
            boxes[i] = one
    return boxes


def _areas(sizes: Sequence[float], members: Sequence[int], scale: float) -> list[float]:
    return [sizes[i] * scale for i in members]


def _worst(areas: Sequence[float], side: float) -> float:
    """Length over width of the least square box of a row along `side`."""
    depth = sum(areas) / side
    return max(max(depth * depth / area, area / (depth * depth)) for area in areas)


def _row(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """The boxes of a row along the shorter side, and what is left of `box`."""
    upright = box.height <= box.width
    side = box.height if upright else box.width
    depth = sum(areas) / side
    placed, along = [], 0.0
    for area in areas:
        length = area / depth
        if upright:
            placed.append(Box(box.x, box.y + along, depth, length))
        else:
            placed.append(Box(box.x + along, box.y, length, depth))
        along += length
    if upright:
        return placed, Box(box.x + depth, box.y, max(0.0, box.width - depth), box.height)
    return placed, Box(box.x, box.y + depth, box.width, max(0.0, box.height - depth))
