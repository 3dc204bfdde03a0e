"""Numpy twin of model.components.smear_lerp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_lerp import SmearLerp as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def SmearLerp(  # noqa: N802
    spec: Spec, model: Model, w: Weights, x_TD: Floats, ids_T: NDArray[np.int64], embedding_VD: Floats
) -> Floats:
    gate_TD = np.broadcast_to(1.0 / (1.0 + np.exp(-w["gate"])), x_TD.shape)
    if spec.stop_at_bos:
        gate_TD = np.where((ids_T == model.bos_id)[:, None], 0.0, gate_TD)
    previous_TD = np.concatenate((np.zeros_like(x_TD[:1]), x_TD[:-1]))
    return np.asarray((1.0 - gate_TD) * x_TD + gate_TD * previous_TD)
