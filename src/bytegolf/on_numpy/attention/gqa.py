"""Numpy twin of model.components.gqa."""

from __future__ import annotations

import numpy as np

from bytegolf.config.schema import Model
from bytegolf.model.components.gqa import Gqa as Spec
from bytegolf.on_numpy.ops import Floats, Weights, rms_norm, rope


def Gqa(spec: Spec, model: Model, w: Weights, x_TD: Floats) -> Floats:  # noqa: N802
    q_HTd = rope(rms_norm(_split(x_TD @ w["q"].T, spec.heads)), spec.rope_base) * w["q_gain"][:, None, None]
    k_KTd = rope(rms_norm(_split(x_TD @ w["k"].T, spec.kv_heads)), spec.rope_base)
    v_KTd = _split(x_TD @ w["v"].T, spec.kv_heads)
    group = spec.heads // spec.kv_heads
    k_HTd, v_HTd = np.repeat(k_KTd, group, axis=0), np.repeat(v_KTd, group, axis=0)
    scores_HTT = q_HTd @ k_HTd.transpose(0, 2, 1) / np.sqrt(q_HTd.shape[-1])
    distance_TT = np.subtract.outer(np.arange(len(x_TD)), np.arange(len(x_TD)))
    seen_TT = (distance_TT >= 0) & (distance_TT < (spec.window or len(x_TD)))
    scores_HTT = np.where(seen_TT, scores_HTT, -np.inf)
    weights_HTT = np.exp(scores_HTT - scores_HTT.max(axis=-1, keepdims=True))
    weights_HTT /= weights_HTT.sum(axis=-1, keepdims=True)
    joined_TD = (weights_HTT @ v_HTd).transpose(1, 0, 2).reshape(len(x_TD), -1)
    return np.asarray(joined_TD @ w["proj"].T)


def _split(x_TD: Floats, heads: int) -> Floats:
    return x_TD.reshape(len(x_TD), heads, -1).transpose(1, 0, 2)
