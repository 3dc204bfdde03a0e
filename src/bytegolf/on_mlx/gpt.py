"""The network on MLX: embedding and mixers, blocks in the order of the plan, head.

Shapes: B rows, T positions, D width, V vocabulary, H query heads, K key-value heads, d head size.
"""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten, tree_unflatten

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.spec import Init, Tensor, tails
from bytegolf.on_mlx.block import Block
from bytegolf.on_mlx.declared import Declared, rms_norm


class Embedding(Declared):
    """E[ids], mixers, RMS norm; `placement` says on which side of the norm a mixer works."""

    weight: mx.array

    def __init__(self, model: Model) -> None:
        shape = (model.vocab_size, model.dim)
        super().__init__([Tensor("weight", shape, "embed", Init("normal", model.embed.init_std))])
        specs = model.embed.mixers
        self.mixers = [registry.lookup("mixer", m.kind, "mlx")(m, model) for m in specs]
        self.before = tuple(i for i, m in enumerate(specs) if m.placement == "before_norm")
        self.after = tuple(i for i, m in enumerate(specs) if m.placement == "after_norm")

    def __call__(self, ids_BT: mx.array, dtype: mx.Dtype) -> mx.array:
        x_BTD = self.weight[ids_BT].astype(dtype)
        for i in self.before:
            x_BTD = self.mixers[i](x_BTD, ids_BT, self.weight)
        x_BTD = rms_norm(x_BTD)
        for i in self.after:
            x_BTD = self.mixers[i](x_BTD, ids_BT, self.weight)
        return x_BTD


class Plan(Declared):
    """Holds the tensors of the plan; the order itself is data."""

    skips: mx.array

    def __init__(self, model: Model) -> None:
        super().__init__(model.plan.tensors(model))
        self.steps = tuple(model.plan.steps(model))
        self.sources = {step.skip.source for step in self.steps if step.skip is not None}


class Gpt(Module):
    """ids (B, T) -> logits (B, T, V). The parameters have exactly the names and shapes of the manifest."""

    def __init__(self, model: Model) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embed = Embedding(model)
        self.blocks = [Block(model, layer) for layer in range(model.layers)]
        self.plan = Plan(model)
        self.head = registry.lookup("head", model.head.kind, "mlx")(model.head, model)

    def named(self) -> dict[str, mx.array]:
        """The parameters by manifest name."""
        return dict(tree_flatten(self.parameters()))  # type: ignore[no-untyped-call]

    def take(self, weights: dict[str, mx.array]) -> None:
        """Put these arrays in place of the parameters they name."""
        self.update(tree_unflatten(list(weights.items())))

    def __call__(self, ids_BT: mx.array, dtype: mx.Dtype = mx.float32, last: int | None = None) -> mx.array:
        """Logits (B, T, V), or (B, last, V) of the last tokens, without computing what those do not see.

        `dtype` is that of the residual stream.
        """
        length = ids_BT.shape[1]
        counts = self.tails(length, length if last is None else last)
        x0_BTD = self.embed(ids_BT, dtype)[:, -counts[0] :]
        x_BTD = x0_BTD
        outputs: dict[int, mx.array] = {}
        for step, count, after in zip(self.plan.steps, counts[:-1], counts[1:], strict=True):
            if step.skip is not None:
                weight = self.plan.skips[step.skip.index].astype(x_BTD.dtype)
                x_BTD = x_BTD + weight * outputs[step.skip.source][:, -count:]
            x_BTD = self.blocks[step.layer](x_BTD, x0_BTD[:, -count:], after, length - count)
            if step.layer in self.plan.sources:
                outputs[step.layer] = x_BTD
        logits_BTV: mx.array = self.head(rms_norm(x_BTD), self.embed.weight)
        return logits_BTV

    def tails(self, length: int, last: int) -> list[int]:
        """How many tokens at the end of a row each step of the plan reads, and at last the head: `last`."""
        windows = [self.blocks[step.layer].attention.window for step in self.plan.steps]
        return tails(windows, length, last)

    def nll(
        self, ids_BT: mx.array, targets_BT: mx.array, dtype: mx.Dtype = mx.float32, last: int | None = None
    ) -> mx.array:
        """Negative log-likelihood (B, T or last) in nats of each target, or of the last ones."""
        logits_BTV = self(ids_BT, dtype, last)
        targets_BT = targets_BT[:, -logits_BTV.shape[1] :]
        chosen_BT = mx.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1).squeeze(-1)
        return mx.logsumexp(logits_BTV, axis=-1) - chosen_BT
