"""Numpy twin of model.components.gqa."""

from __future__ import annotations

from bytegolf.config.schema import Model
from bytegolf.model.components.gqa import Gqa as Spec
from bytegolf.on_numpy.attention.heads import attend
from bytegolf.on_numpy.ops import Floats, Weights


def Gqa(spec: Spec, model: Model, w: Weights, x_TD: Floats) -> Floats:  # noqa: N802
    return attend(spec, w, x_TD @ w["q"].T, x_TD @ w["k"].T, x_TD @ w["v"].T)
