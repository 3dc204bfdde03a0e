"""The model as a specification: every tensor with its shape, role and initialisation. Runs nothing.

Names are state-dict names. A component declares its tensors under short names; the manifest prefixes them:
`embed.weight`, `embed.mixers.0.gate`, `blocks.3.attention.q`, `plan.skips`. Matrices are (out, in).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from numpy.typing import NDArray

from bytegolf.config.schema import Model, Role, UniformFanIn, Variant
from bytegolf.errors import ConfigError

InitKind = Literal["zeros", "constant", "normal", "uniform_fan_in", "orthogonal"]


@dataclass(frozen=True)
class Init:
    """How a tensor starts. `value`: the constant, the standard deviation, or the gain of an orthogonal matrix.

    uniform_fan_in is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), what torch's nn.Linear does.
    """

    kind: InitKind
    value: float = 0.0


ZEROS = Init("zeros")
ONES = Init("constant", 1.0)
FAN_IN = Init("uniform_fan_in")


def matrix_init(model: Model) -> Init:
    """The initialisation of a matrix inside a layer, as `model.matrix_init` sets it."""
    chosen = model.matrix_init
    if isinstance(chosen, UniformFanIn):
        return FAN_IN
    return Init("orthogonal", model.dim**-0.5 if chosen.gain == "1/sqrt(dim)" else chosen.gain)


@dataclass(frozen=True)
class Tensor:
    """One parameter: its name, shape, role (which optimizer and codec it gets) and initialisation."""

    name: str
    shape: tuple[int, ...]
    role: Role
    init: Init

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def under(self, prefix: str) -> Tensor:
        return replace(self, name=f"{prefix}.{self.name}")


class Component(Variant):
    """A variant that fills one of the five slots: its config, its tensors, its cost."""

    def check(self, model: Model) -> None:
        """Raise ValueError when this component cannot be built into `model`."""

    @abstractmethod
    def tensors(self, model: Model) -> list[Tensor]:
        """The parameters of one instance, under short names."""

    def narrowed(self, ratio: float) -> Self:
        """This component for a model of `ratio` times the width, for trials: `--shrink`."""
        return self

    def dead(self) -> frozenset[str]:
        """Short names of tensors whose gradient is zero for ever under these settings."""
        return frozenset()

    @abstractmethod
    def flops(self, model: Model) -> int:
        """Floating-point operations of the forward pass per token at full context (multiply + add = 2)."""


class Mixer(Component):
    """A component that enriches the embedding; `placement` is relative to the RMS norm of the embedding."""

    placement: ClassVar[Literal["before_norm", "after_norm"]]


@dataclass(frozen=True)
class Skip:
    """x <- x + plan.skips[index] * (output of layer `source`), before the layer runs."""

    index: int
    source: int


@dataclass(frozen=True)
class Step:
    """One application of one physical layer."""

    layer: int
    skip: Skip | None = None


class Plan(Component):
    """The order in which layers run and what they receive.

    With `depth_damping` the scales of attention and MLP in layer i start at 1 / sqrt(i + 1) instead of 1 (PR 489);
    they are trained like the others.
    """

    depth_damping: bool = False

    def residual_scale(self, layer: int) -> float:
        """Where `attention_scale` and `mlp_scale` of a layer start."""
        return (layer + 1) ** -0.5 if self.depth_damping else 1.0

    @abstractmethod
    def steps(self, model: Model) -> list[Step]:
        """The applications in order."""


@dataclass(frozen=True)
class Manifest:
    """Every tensor of a model, in a fixed order, with unique names; `dead` never get a gradient."""

    tensors: tuple[Tensor, ...]
    dead: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        repeated = [name for name, n in Counter(t.name for t in self.tensors).items() if n > 1]
        assert not repeated, f"declared more than once: {repeated}"

    @property
    def parameters(self) -> int:
        return sum(t.size for t in self.tensors)

    def roles(self) -> dict[str, Role]:
        return {t.name: t.role for t in self.tensors}

    def dead_parameters(self) -> int:
        """How many parameters never get a gradient."""
        return sum(t.size for t in self.tensors if t.name in self.dead)

    def parameters_by_role(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.role] += tensor.size
        return dict(counts)


def block_tensors(model: Model, layer: int) -> list[Tensor]:
    """The parameters of one layer, under short names.

    x <- mix_x * x + mix_x0 * x0;  x <- x + attention_scale * Attention(rms(x));  x <- x + mlp_scale * MLP(rms(x))
    """
    vector, scale = (model.dim,), Init("constant", model.plan.residual_scale(layer))
    return [
        Tensor("mix_x", vector, "scalar", ONES),
        Tensor("mix_x0", vector, "scalar", ZEROS),
        Tensor("attention_scale", vector, "scalar", scale),
        Tensor("mlp_scale", vector, "scalar", scale),
        *(t.under("attention") for t in model.attention.tensors(model)),
        *(t.under("mlp") for t in model.mlp.tensors(model)),
    ]


def manifest(model: Model) -> Manifest:
    """Every tensor of the model. The embedding comes first, then mixers, blocks, plan and head."""
    embed = Tensor("weight", (model.vocab_size, model.dim), "embed", Init("normal", model.embed.init_std))
    tensors = [embed.under("embed")]
    for i, mixer in enumerate(model.embed.mixers):
        tensors += [t.under(f"embed.mixers.{i}") for t in mixer.tensors(model)]
    for layer in range(model.layers):
        tensors += [t.under(f"blocks.{layer}") for t in block_tensors(model, layer)]
    tensors += [t.under("plan") for t in model.plan.tensors(model)]
    tensors += [t.under("head") for t in model.head.tensors(model)]
    return Manifest(tuple(tensors), frozenset(_dead(model)))


def _dead(model: Model) -> Iterator[str]:
    parts = {f"embed.mixers.{i}": mixer for i, mixer in enumerate(model.embed.mixers)}
    parts |= {f"blocks.{layer}.attention": model.attention for layer in range(model.layers)}
    parts |= {f"blocks.{layer}.mlp": model.mlp for layer in range(model.layers)}
    for prefix, part in {**parts, "plan": model.plan, "head": model.head}.items():
        yield from (f"{prefix}.{name}" for name in part.dead())


def check_weights(tensors: Manifest, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raises ConfigError when names or shapes are not those of the manifest."""
    wanted = {t.name: t.shape for t in tensors.tensors}
    got = {name: array.shape for name, array in weights.items()}
    if wanted != got:
        wrong = sorted(n for n in wanted.keys() | got.keys() if wanted.get(n) != got.get(n))
        raise ConfigError("the weights are not those of this model", got=f"differing tensors: {wrong[:5]}")


def tails(windows: Sequence[int], length: int, last: int) -> list[int]:
    """How many tokens at the end of a row each application of a layer reads, and at last the head: `last`.

    windows: the attention window of each application, 0 for all of the row. One that hands on n tokens reads as
    many as their attention sees: all, or n + window - 1.
    """
    counts = [last]
    for window in reversed(windows):
        counts.append(min(length, counts[-1] + window - 1) if window else length)
    if last == length:
        return [length] * len(counts)
    return counts[::-1]


def flops_per_token(model: Model) -> int:
    """Forward operations per token at full context; training costs three times as much."""
    applications = len(model.plan.steps(model))
    per_layer = model.attention.flops(model) + model.mlp.flops(model)
    outside = sum(part.flops(model) for part in (*model.embed.mixers, model.plan, model.head))
    return int(applications * per_layer + outside)
