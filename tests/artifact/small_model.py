"""A small model's worth of tensors, with the roles and codecs to pack them."""

from __future__ import annotations

import numpy as np

ROLES = {"embed": "embed", "block.0.q": "matrix", "block.0.gain": "scalar", "scale": "scalar"}
CODECS = {"embed": "int8", "matrix": "int6", "scalar": "fp16"}


def small_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embed": (12, 8),
        "block.0.q": (8, 8),
        "block.0.gain": (4,),
        "scale": (),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
