"""Numpy twin of model.components.untied."""

from __future__ import annotations

from bytegolf.model.components.untied import Untied as Spec
from bytegolf.on_numpy.ops import Floats, Weights, softcap


def Untied(spec: Spec, w: Weights, x_TD: Floats, embedding_VD: Floats) -> Floats:  # noqa: N802
    return softcap(x_TD @ w["weight"].T, spec.softcap)
