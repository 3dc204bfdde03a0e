"""Numpy twin of model.components.relu2."""

from __future__ import annotations

import numpy as np

from bytegolf.config.schema import Model
from bytegolf.model.components.relu2 import Relu2 as Spec
from bytegolf.on_numpy.ops import Floats, Weights


def Relu2(spec: Spec, model: Model, w: Weights, x_TD: Floats) -> Floats:  # noqa: N802
    return np.asarray(np.maximum(x_TD @ w["fc"].T, 0.0) ** 2 @ w["proj"].T)
