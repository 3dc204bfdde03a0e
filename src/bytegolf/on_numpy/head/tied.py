"""Numpy twin of model.components.tied."""

from __future__ import annotations

from bytegolf.model.components.tied import Tied as Spec
from bytegolf.on_numpy.ops import Floats, Weights, softcap


def Tied(spec: Spec, w: Weights, x_TD: Floats, embedding_VD: Floats) -> Floats:  # noqa: N802
    return softcap(x_TD @ embedding_VD.T, spec.softcap)
