"""SmearGate of record 2026-03-19_smeargate_orthoinit_muonwd: a gate says how much of a token is kept."""

from __future__ import annotations

from typing import ClassVar, Literal

from bytegolf.config.schema import Model
from bytegolf.model.spec import Init, Mixer, Tensor


class SmearKeep(Mixer):
    """out_t = g x_t + (1 - g) x_{t-1} with g = sigmoid(gate) per channel, x_{-1} = 0, gate starting at 3.

    The opposite of `smear_lerp`: a larger gate means less of the previous token, and at the start a channel keeps
    95 %. Weights of the two must not be exchanged. With `stop_at_bos` a document's first token passes unchanged.
    """

    placement: ClassVar[Literal["before_norm", "after_norm"]] = "after_norm"

    kind: Literal["smear_keep"]
    stop_at_bos: bool = True

    def tensors(self, model: Model) -> list[Tensor]:
        return [Tensor("gate", (model.dim,), "gate", Init("constant", 3.0))]

    def flops(self, model: Model) -> int:
        return 3 * model.dim
