"""The coder of a .golf file, as any process can build it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bytegolf.coding.workers import StreamCoder


@dataclass(frozen=True)
class ModelRecipe:
    """golf: the bytes of the file. context, stride: how the model reads, in tokens. where: names it in errors."""

    golf: bytes
    context: int
    stride: int
    where: str

    @property
    def model(self) -> bytes:
        """sha256 of the file."""
        return hashlib.sha256(self.golf).digest()

    def build(self) -> StreamCoder:
        """Raises ArtifactError for a damaged model. Cost: decoding the weights and making tables of them."""
        from bytegolf.coding.exact_coder import ExactCoder
        from bytegolf.model_file import model_of

        return ExactCoder(model_of(self.golf, self.where), self.context, self.stride)
