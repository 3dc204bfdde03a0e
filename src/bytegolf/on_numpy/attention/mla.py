"""Numpy twin of model.components.mla."""

from __future__ import annotations

from bytegolf.config.schema import Model
from bytegolf.model.components.mla import Mla as Spec
from bytegolf.on_numpy.attention.heads import attend
from bytegolf.on_numpy.ops import Floats, Weights


def Mla(spec: Spec, model: Model, w: Weights, x_TD: Floats) -> Floats:  # noqa: N802
    latent_Tr = x_TD @ w["kv_down"].T
    return attend(spec, w, x_TD @ w["q"].T, latent_Tr @ w["k_up"].T, latent_Tr @ w["v_up"].T)
