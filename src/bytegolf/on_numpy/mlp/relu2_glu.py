"""Numpy twin of model.components.relu2_glu."""

from __future__ import annotations

import numpy as np

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2_glu import Relu2Glu as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def Relu2Glu(spec: Spec, model: Model, w: Weights, x_TD: Floats) -> Floats:  # noqa: N802
    return np.asarray(np.maximum(x_TD @ w["gate"].T, 0.0) ** 2 * (x_TD @ w["up"].T) @ w["proj"].T)
