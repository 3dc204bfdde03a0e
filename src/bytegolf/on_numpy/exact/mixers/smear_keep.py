"""Exact twin of model.components.smear_keep."""

from __future__ import annotations

from bytegolf.config.schema import Model
from bytegolf.model.components.smear_keep import SmearKeep as Spec
from bytegolf.on_numpy.exact.mixers.smear import Smear
from bytegolf.on_numpy.exact.ops import Ops
from bytegolf.on_numpy.exact.tables import sigmoid
from bytegolf.on_numpy.exact.whole import Stored, Tensors


class SmearKeep(Smear):
    """The gate's sigmoid is a multiple of 2^-30."""

    def __init__(
        self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored, bound: float
    ) -> None:
        gate = sigmoid(tensors["gate"].values())
        super().__init__(ops, gate, 1.0 - gate, model.bos_id if spec.stop_at_bos else None)
        self.bound = bound  # a mean of two values
