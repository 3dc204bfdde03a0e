"""Exact twin of model.components.smear_lerp."""

from __future__ import annotations

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_lerp import SmearLerp as Spec
from bytegolf.on_numpy.exact.mixers.smear import Smear
from bytegolf.on_numpy.exact.ops import Ops
from bytegolf.on_numpy.exact.tables import sigmoid
from bytegolf.on_numpy.exact.whole import Stored, Tensors


class SmearLerp(Smear):
    """The gate's sigmoid is a multiple of 2^-30."""

    def __init__(
        self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored, bound: float
    ) -> None:
        gate = sigmoid(tensors["gate"].values())
        super().__init__(ops, 1.0 - gate, gate, model.bos_id if spec.stop_at_bos else None)
        self.bound = bound  # a mean of two values
