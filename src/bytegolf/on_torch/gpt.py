"""The network on torch: embedding and mixers, blocks in the order of the plan, head.

Shapes: B rows, T positions, D width, V vocabulary, H query heads, K key-value heads, d head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import Init, Tensor, manifest, tails
from bytegolf.on_torch.block import Block
from bytegolf.on_torch.declared import Declared, rms_norm


class Embedding(Declared):
    """E[ids], mixers, RMS norm; `placement` says on which side of the norm a mixer works."""

    weight: torch.Tensor

    def __init__(self, model: Model) -> None:
        shape = (model.vocab_size, model.dim)
        super().__init__([Tensor("weight", shape, "embed", Init("normal", model.embed.init_std))])
        specs = model.embed.mixers
        self.mixers = nn.ModuleList(registry.lookup("mixer", m.kind, "torch")(m, model) for m in specs)
        self.before = [i for i, m in enumerate(specs) if m.placement == "before_norm"]
        self.after = [i for i, m in enumerate(specs) if m.placement == "after_norm"]

    def forward(self, ids_BT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        x_BTD = F.embedding(ids_BT, self.weight).to(dtype)
        for i in self.before:
            x_BTD = self.mixers[i](x_BTD, ids_BT, self.weight)
        x_BTD = rms_norm(x_BTD)
        for i in self.after:
            x_BTD = self.mixers[i](x_BTD, ids_BT, self.weight)
        return x_BTD


class Plan(Declared):
    """Holds the tensors of the plan; the order itself is data."""

    skips: torch.Tensor

    def __init__(self, model: Model) -> None:
        super().__init__(model.plan.tensors(model))
        self.steps = model.plan.steps(model)
        self.sources = {step.skip.source for step in self.steps if step.skip is not None}


class Gpt(nn.Module):
    """ids (B, T) -> logits (B, T, V). The state dict has exactly the names and shapes of the manifest."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.embed = Embedding(model)
        self.blocks = nn.ModuleList(Block(model, layer) for layer in range(model.layers))
        self.plan = Plan(model)
        self.head = registry.lookup("head", model.head.kind, "torch")(model.head, model)

    @classmethod
    def initialised(cls, model: Model, seed: int) -> Gpt:
        """A network with the initial weights of (model, seed)."""
        gpt = cls(model)
        weights = initial_weights(manifest(model), seed)
        gpt.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return gpt

    def forward(
        self, ids_BT: torch.Tensor, dtype: torch.dtype | None = None, last: int | None = None
    ) -> torch.Tensor:
        """Logits (B, T, V), or (B, last, V) of the last tokens, without computing what those do not see.

        `dtype` is that of the residual stream; the default is the weights' own.
        """
        length = ids_BT.shape[1]
        counts = self.tails(length, length if last is None else last)
        x0_BTD = self.embed(ids_BT, dtype or self.embed.weight.dtype)[:, -counts[0] :]
        x_BTD = x0_BTD
        outputs: dict[int, torch.Tensor] = {}
        for step, count, after in zip(self.plan.steps, counts[:-1], counts[1:], strict=True):
            if step.skip is not None:
                weight = self.plan.skips[step.skip.index].to(x_BTD.dtype)
                x_BTD = x_BTD + weight * outputs[step.skip.source][:, -count:]
            x_BTD = self.blocks[step.layer](x_BTD, x0_BTD[:, -count:], after, length - count)
            if step.layer in self.plan.sources:
                outputs[step.layer] = x_BTD
        logits_BTV: torch.Tensor = self.head(rms_norm(x_BTD), self.embed.weight)
        return logits_BTV

    def tails(self, length: int, last: int) -> list[int]:
        """How many tokens at the end of a row each step of the plan reads, and at last the head: `last`."""
        windows = [self.blocks[step.layer].attention.window for step in self.plan.steps]
        return tails(windows, length, last)

    def nll(
        self,
        ids_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        dtype: torch.dtype | None = None,
        last: int | None = None,
    ) -> torch.Tensor:
        """Negative log-likelihood (B, T or last) in nats of each target, or of the last ones."""
        logits_BTV = self(ids_BT, dtype, last)
        targets_BT = targets_BT[:, -logits_BTV.shape[1] :]
        flat = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
        return flat.view_as(targets_BT)
