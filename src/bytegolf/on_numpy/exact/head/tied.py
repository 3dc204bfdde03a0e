"""Exact twin of model.components.tied."""

from __future__ import annotations

from bytegolf.config.schema import Model
from bytegolf.model.components.tied import Tied as Spec
from bytegolf.on_numpy.exact.head.capped import Capped
from bytegolf.on_numpy.exact.ops import Ops
from bytegolf.on_numpy.exact.whole import Stored, Tensors


class Tied(Capped):
    """W is the embedding."""

    def __init__(self, ops: Ops, spec: Spec, model: Model, tensors: Tensors, embedding: Stored) -> None:
        super().__init__(ops, model, embedding, spec.softcap)
