"""Numpy twin of model.components.ngram_recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.ngram_recall import NgramRecall as Spec
from bytegolf.on_numpy.ops import Floats, Weights, rms_norm


def NgramRecall(  # noqa: N802
    spec: Spec, model: Model, w: Weights, x_TD: Floats, ids_T: NDArray[np.int64], embedding_VD: Floats
) -> Floats:
    x_TD = x_TD.copy()
    for row, order in enumerate(spec.orders):
        for t, follower in enumerate(followers(spec, model.bos_id, ids_T, order)):
            if follower is not None:
                x_TD[t] += w["gate"][row] * rms_norm(embedding_VD[follower])
    return x_TD


def followers(spec: Spec, bos_id: int, ids_T: NDArray[np.int64], order: int) -> list[int | None]:
    """For each t the token that followed the latest earlier copy of the n-gram ending at t, or None."""
    ids, document = ids_T.tolist(), np.cumsum(ids_T == bos_id).tolist()
    latest: dict[tuple[object, ...], int] = {}
    result: list[int | None] = []
    for t in range(len(ids)):
        start = t - order + 1
        whole = start >= 0 and (not spec.stop_at_bos or document[start] == document[t])
        key = (document[t] if spec.stop_at_bos else None, *ids[max(start, 0) : t + 1])
        result.append(ids[latest[key] + 1] if whole and key in latest else None)
        if whole:
            latest[key] = t
    return result
