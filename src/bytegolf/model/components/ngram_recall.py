"""Static n-gram heads (after Akyurek et al. 2024, arXiv 2401.12973): what followed the last time?"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from bytegolf.config.schema import Model
from bytegolf.model.spec import ZEROS, Mixer, Tensor


class NgramRecall(Mixer):
    """x_t + sum_n gate_n * rms(E[c_n(t)]),  c_n(t) = the token after the latest earlier copy of the n-gram at t.

    The n-gram at t is tokens t-n+1..t; where it has no earlier copy in the row, its term is zero. With
    `stop_at_bos` only copies in the same document count. Attention learns this "induction" slowly; given for
    free, it is worth most to models that train briefly on text that repeats itself. Every order up to the
    largest costs a sort of the row; no matrix product.
    """

    placement: ClassVar[Literal["before_norm", "after_norm"]] = "after_norm"

    kind: Literal["ngram_recall"]
    orders: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    stop_at_bos: bool = True

    def check(self, model: Model) -> None:
        if min(self.orders) < 1 or list(self.orders) != sorted(set(self.orders)):
            raise ValueError(f"ngram_recall.orders must be rising and start at 1 or more, got {self.orders}")

    def tensors(self, model: Model) -> list[Tensor]:
        return [Tensor("gate", (len(self.orders), model.dim), "gate", ZEROS)]

    def flops(self, model: Model) -> int:
        return 5 * len(self.orders) * model.dim
