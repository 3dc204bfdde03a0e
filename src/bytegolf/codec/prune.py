"""Magnitude pruning before packing (Parameter Golf record 2026-03-20_10L_Int5MLP_MuonWD04_SWA50)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def magnitude_prune(weights: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """A copy in which every |w| below the `share`-quantile of |w| over the whole tensor is 0.

    The quantile interpolates linearly, so of n values floor(share (n - 1)) + 1 become zero, up to ties. At int6
    and int5 most of them would have rounded to 0 anyway: what pruning buys is little.
    """
    magnitudes = np.abs(weights)
    threshold = np.quantile(magnitudes.astype(np.float64), share)
    return np.where(magnitudes < threshold, np.float32(0), weights)
