"""Numpy twin of model.components.bigram_hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.bigram_hash import BigramHash as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def BigramHash(  # noqa: N802
    spec: Spec, model: Model, w: Weights, x_TD: Floats, ids_T: NDArray[np.int64], embedding_VD: Floats
) -> Floats:
    pairs_Td = w["table"][buckets(spec, model.bos_id, ids_T)]
    return np.asarray(x_TD + w["scale"] * (pairs_Td @ w["proj"].T))


def buckets(spec: Spec, bos_id: int, ids_T: NDArray[np.int64]) -> NDArray[np.int64]:
    """Table row of each position's token pair."""
    bucket_T = np.full(len(ids_T), spec.buckets - 1, np.int64)
    bucket_T[1:] = ((36313 * ids_T[1:]) ^ (27191 * ids_T[:-1])) % (spec.buckets - 1)
    if spec.stop_at_bos:
        bucket_T[ids_T == bos_id] = spec.buckets - 1
    return bucket_T
