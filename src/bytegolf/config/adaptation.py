"""Test-time training: how the weights may change between the chunks of one scoring pass.

Every kind is score first: a chunk is scored with the weights that the chunks before it left, then it may be learnt
from. Nothing here can depend on the length of the text, so a score never changes when the text goes on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoAdaptation(_Frozen):
    """The weights stay those of the file."""

    kind: Literal["none"]


class _FullWeights(_Frozen):
    """Weights trained on each chunk after it was scored, in one pass over the text.

    chunk: targets scored before each training. epochs: passes over the chunk. rows: sequences of at most
    model.context tokens in one optimizer step. clip: global L2 norm of the gradient, 0 = off.
    decay_chunks: the learning rate falls by half a cosine to 0 over so many chunks; 0 keeps it. It is a number of
    the config, since the true number of chunks would tell the scorer how long the text is.
    freeze: what stays as it is: roles, or tensors and groups of them by the start of their manifest name
    ("embed", "gate", "blocks.0", "blocks.3.mlp.fc").
    """

    chunk: int = Field(32_768, ge=1)
    epochs: int = Field(1, ge=1)
    rows: int = Field(1, ge=1)
    clip: float = Field(1.0, ge=0)
    decay_chunks: int = Field(0, ge=0)
    freeze: tuple[str, ...] = ()


class SgdAdaptation(_FullWeights):
    """SGD with momentum, one state for the whole text (the first legal reference of Parameter Golf, PR 549).

    That record: chunk 32,768, 3 epochs, lr 0.002, momentum 0.9, clip 1, a cosine over 1,893 chunks.
    """

    kind: Literal["sgd"]
    epochs: int = Field(3, ge=1)
    lr: float = Field(0.002, gt=0)
    momentum: Beta = 0.9


class AdamWAdaptation(_FullWeights):
    """AdamW: the optimizer of PR 489, which trained on all of the text before scoring it; here made legal."""

    kind: Literal["adamw"]
    lr: float = Field(5e-4, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)


class LoraAdaptation(_Frozen):
    """A low-rank change B A (Hu et al. 2021) of some matrices for each document, from nothing (PG's LoRA record).

    A document is scored in chunks of `chunk` targets; after each but its last, one Adam step on the mean loss of
    that chunk. A starts at U(-1/sqrt(in), 1/sqrt(in)), the same for every document, B at 0; no scale. Documents
    know nothing of each other, so `documents` of them go through the network at a time.
    parts: the matrices that change: "head" (the output projection) and names of attention or MLP matrices.
    """

    kind: Literal["lora"]
    chunk: int = Field(256, ge=1)
    rank: int = Field(8, ge=1)
    lr: float = Field(0.01, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(1e-10, gt=0)
    steps: int = Field(1, ge=1)
    documents: int = Field(64, ge=1)
    parts: tuple[str, ...] = ("head", "attention.q", "attention.v")


FullWeights = SgdAdaptation | AdamWAdaptation
Adaptation = Annotated[
    NoAdaptation | SgdAdaptation | AdamWAdaptation | LoraAdaptation, Field(discriminator="kind")
]
