"""Numpy twin of model.components.heads."""

from __future__ import annotations

import numpy as np

from bytegolf.model.components.heads import Heads
from bytegolf.on_numpy.ops import Floats, Weights, rms_norm, rope


def attend(spec: Heads, w: Weights, q_TD: Floats, k_Td: Floats, v_Td: Floats) -> Floats:
    """Projected queries, keys and values -> (T, D)."""
    q_HTd = rope(rms_norm(_split(q_TD, spec.heads)), spec.rope_base, spec.rope_dims)
    k_KTd = rope(rms_norm(_split(k_Td, spec.kv_heads)), spec.rope_base, spec.rope_dims)
    v_KTd = _split(v_Td, spec.kv_heads)
    group, length = spec.heads // spec.kv_heads, len(q_TD)
    k_HTd, v_HTd = np.repeat(k_KTd, group, axis=0), np.repeat(v_KTd, group, axis=0)
    scores_HTT = (q_HTd * w["q_gain"][:, None, None]) @ k_HTd.transpose(0, 2, 1) / np.sqrt(q_HTd.shape[-1])
    distance_TT = np.subtract.outer(np.arange(length), np.arange(length))
    seen_TT = (distance_TT >= 0) & (distance_TT < (spec.window or length))
    scores_HTT = np.where(seen_TT, scores_HTT, -np.inf)
    weights_HTT = np.exp(scores_HTT - scores_HTT.max(axis=-1, keepdims=True))
    weights_HTT /= weights_HTT.sum(axis=-1, keepdims=True)
    joined_TD = (weights_HTT @ v_HTd).transpose(1, 0, 2).reshape(length, -1)
    return np.asarray(joined_TD @ w["proj"].T)


def _split(x_TD: Floats, heads: int) -> Floats:
    return x_TD.reshape(len(x_TD), heads, -1).transpose(1, 0, 2)
