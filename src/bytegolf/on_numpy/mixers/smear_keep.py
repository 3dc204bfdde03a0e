"""Numpy twin of model.components.smear_keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_keep import SmearKeep as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def SmearKeep(  # noqa: N802
    spec: Spec, model: Model, w: Weights, x_TD: Floats, ids_T: NDArray[np.int64], embedding_VD: Floats
) -> Floats:
    kept_TD = np.broadcast_to(1.0 / (1.0 + np.exp(-w["gate"])), x_TD.shape)
    if spec.stop_at_bos:
        kept_TD = np.where((ids_T == model.bos_id)[:, None], 1.0, kept_TD)
    previous_TD = np.concatenate((np.zeros_like(x_TD[:1]), x_TD[:-1]))
    return np.asarray(kept_TD * x_TD + (1.0 - kept_TD) * previous_TD)
