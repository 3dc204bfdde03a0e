"""Numbers that every twin of the model must give, computed apart from this package in float64."""

from __future__ import annotations

import numpy as np

# Buckets of the XOR hash for these ids, the first of them first in its row.
HASHED_IDS = np.array([1, 2, 3, 500, 1023, 1023, 0])
BUCKETS = {
    4096: [4095, 412, 3580, 1717, 1256, 476, 3153],
    2048: [2047, 435, 1556, 2043, 1163, 977, 1757],
    10240: [10239, 2446, 5614, 9304, 86, 1817, 7269],
}

# multiplier -> (B, buckets) of the linear hash: PR 354, and the record with SmearGate and orthogonal init.
PRIME_BUCKETS = {
    1_000_003: (10_240, [1, 6725, 3209, 189, 3803, 7612, 6589]),
    92_821: (4096, [1, 2711, 1325, 435, 3843, 3434, 2411]),
}

# One channel [1, 3, 5] under a gate.
SMEARED = {0.0: [0.5, 2.0, 4.0], 1.0: [0.2689414214, 1.5378828427, 3.5378828427]}

# (cap, x) -> cap tanh(x / cap)
SOFTCAPPED = {(30.0, 30.0): 22.847824679, (30.0, 0.1): 0.0999996296, (15.0, 30.0): 14.460413701}

# [1, 2, 3, 4] at positions 0, 1, 2, base 10,000, rotated by -theta.
ROTATED = [
    [1.0, 2.0, 3.0, 4.0],
    [3.0647152605, 2.0398993342, 0.7794359327, 3.9798003350],
    [2.3117454439, 2.0795946801, -2.1577379365, 3.9592026933],
]

# The RMS norm of 512 times 0.005, eps 2^-23.
NORMED_CONSTANT = 0.99762431
