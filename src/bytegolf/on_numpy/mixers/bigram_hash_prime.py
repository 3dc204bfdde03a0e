"""Numpy twin of model.components.bigram_hash_prime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash_prime import BigramHashPrime as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def BigramHashPrime(  # noqa: N802
    spec: Spec, model: Model, w: Weights, x_TD: Floats, ids_T: NDArray[np.int64], embedding_VD: Floats
) -> Floats:
    return np.asarray(x_TD + w["table"][buckets(spec, model.bos_id, ids_T)] @ w["proj"].T)


def buckets(spec: Spec, bos_id: int, ids_T: NDArray[np.int64]) -> NDArray[np.int64]:
    """Table row of each position's token pair."""
    previous_T = np.concatenate(([0], ids_T[:-1]))
    if spec.stop_at_bos:
        previous_T[ids_T == bos_id] = 0
    return (previous_T * spec.multiplier + ids_T) % spec.buckets
