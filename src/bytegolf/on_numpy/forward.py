"""The definition of the model: a float64 forward pass in plain numpy. Slow on purpose; the twins answer to it.

Shapes: T positions, D width, V vocabulary, H query heads, K key-value heads, d head size. One row at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.on_numpy.ops import Floats, Weights, rms_norm, under


def logits(model: Model, weights: Mapping[str, NDArray[np.floating]], ids_T: NDArray[np.integer]) -> Floats:
    """Logits (T, V) in float64 of the tokens that follow each position of ids (T,)."""
    w: Weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    x0_TD = x_TD = _embed(model, w, np.asarray(ids_T, np.int64))
    attention = registry.lookup("attention", model.attention.kind, "numpy")
    mlp = registry.lookup("mlp", model.mlp.kind, "numpy")
    outputs: dict[int, Floats] = {}
    for step in model.plan.steps(model):
        b = under(w, f"blocks.{step.layer}")
        if step.skip is not None:
            x_TD = x_TD + w["plan.skips"][step.skip.index] * outputs[step.skip.source]
        x_TD = b["mix_x"] * x_TD + b["mix_x0"] * x0_TD
        x_TD = x_TD + b["attention_scale"] * attention(
            model.attention, model, under(b, "attention"), rms_norm(x_TD)
        )
        x_TD = x_TD + b["mlp_scale"] * mlp(model.mlp, model, under(b, "mlp"), rms_norm(x_TD))
        outputs[step.layer] = x_TD
    head = registry.lookup("head", model.head.kind, "numpy")
    result: Floats = head(model.head, under(w, "head"), rms_norm(x_TD), w["embed.weight"])
    return result


def nll(
    model: Model,
    weights: Mapping[str, NDArray[np.floating]],
    ids_T: NDArray[np.integer],
    targets_T: NDArray[np.integer],
) -> Floats:
    """Negative log-likelihood (T,) in nats: logsumexp(logits) - logits[target]."""
    logits_TV = logits(model, weights, ids_T)
    top_T = logits_TV.max(axis=-1)
    total_T = top_T + np.log(np.exp(logits_TV - top_T[:, None]).sum(axis=-1))
    return np.asarray(total_T - logits_TV[np.arange(len(targets_T)), targets_T])


def _embed(model: Model, w: Weights, ids_T: NDArray[np.int64]) -> Floats:
    x_TD = w["embed.weight"][ids_T]
    mixers = [
        (spec, registry.lookup("mixer", spec.kind, "numpy"), under(w, f"embed.mixers.{i}"))
        for i, spec in enumerate(model.embed.mixers)
    ]
    for spec, run, tensors in mixers:
        if spec.placement == "before_norm":
            x_TD = run(spec, model, tensors, x_TD, ids_T, w["embed.weight"])
    x_TD = rms_norm(x_TD)
    for spec, run, tensors in mixers:
        if spec.placement == "after_norm":
            x_TD = run(spec, model, tensors, x_TD, ids_T, w["embed.weight"])
    return x_TD
