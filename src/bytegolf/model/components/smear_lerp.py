"""SmearGate in its convex form (PR 102): each channel blends in the previous token's embedding."""

from __future__ import annotations

from typing import ClassVar, Literal

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Mixer, Tensor


class SmearLerp(Mixer):
    """out_t = (1 - g) x_t + g x_{t-1} with g = sigmoid(gate) per channel and x_{-1} = 0.

    A larger gate means more of the previous token. With `stop_at_bos` a document's first token passes
    unchanged, so nothing leaks from the document before; False is the published behaviour.
    """

    placement: ClassVar[Literal["before_norm", "after_norm"]] = "after_norm"

    kind: Literal["smear_lerp"]
    stop_at_bos: bool = True

    def tensors(self, model: Model) -> list[Tensor]:
        return [Tensor("gate", (model.dim,), "gate", ZEROS)]

    def flops(self, model: Model) -> int:
        return 3 * model.dim
