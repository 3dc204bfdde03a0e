"""Before training: the bytes, the operations and the time that a config will take, and settings that would fit."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from bytegolf import __version__
from bytegolf.artifact.ledger import Ledger
from bytegolf.artifact.predict import (
    SHORT_STEPS,
    PlannedTensor,
    Prediction,
    expected_ledger,
    predict,
    trained_std,
)
from bytegolf.config.load import to_tree
from bytegolf.config.schema import Config
from bytegolf.model.spec import Manifest, Tensor, flops_per_token, manifest
from bytegolf.model.storage import codecs_of, pruned_tensors
from bytegolf.train.budget import Budget
from bytegolf.train.export import PROVENANCE
from bytegolf.train.fill import filled_tensors
from bytegolf.train.fit import TRAIN_OVER_FORWARD
from bytegolf.train.probe import Probe

BYTES_VOCAB = 257  # no tokenizer but the one of bytes has so few entries

# As long as what a run writes; only the lengths count.
_PROVENANCE = {
    "version": __version__,
    "steps": 1000,
    "tokens": 1_000_000,
    "seconds": 180.00281533999987,
    "interrupted": False,
    "averaged": False,
    "seed": 1337,
    "device": "cpu",
    "precision": "fp32",
}
_DATA = {"name": "stdlib", **dict.fromkeys(("train_sha256", "val_sha256", "tokenizer_sha256"), "0" * 64)}


@dataclass(frozen=True)
class Extent:
    """How long training lasts; None where nobody measured how fast this machine is."""

    steps: int | None
    tokens: int | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """All that `bytegolf plan` says but the proposals. budget 0: no limit.

    fit_bits: bits a weight that `bytegolf pack RUN --fit BUDGET` would have for the weights whose codec it tunes;
    None without a budget.
    """

    config: Config
    prediction: Prediction
    budget: int
    parameters: int
    dead: int
    flops_per_token: int
    extent: Extent
    probe: Probe | None
    fit_bits: float | None

    @property
    def left(self) -> int:
        """Bytes of the budget that are left; negative when it is missed. 0 without a budget."""
        return self.budget - self.prediction.total if self.budget else 0

    @property
    def training_flops(self) -> int | None:
        """TRAIN_OVER_FORWARD * flops_per_token * tokens; None while the tokens are not known."""
        tokens = self.extent.tokens
        return None if tokens is None else TRAIN_OVER_FORWARD * self.flops_per_token * tokens

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "bytes": self.prediction.to_json(),
            "budget": self.budget,
            "left": self.left,
            "parameters": self.parameters,
            "dead_parameters": self.dead,
            "flops_per_token": self.flops_per_token,
            "training_flops": self.training_flops,
            "steps": self.extent.steps,
            "tokens": self.extent.tokens,
            "seconds": self.extent.seconds,
            "probe": None if self.probe is None else self.probe.to_json(),
            "fit_bits": None if self.fit_bits is None else round(self.fit_bits, 4),
        }


def make_plan(config: Config, probe: Probe | None = None) -> Plan:
    """The plan of a config under `pack.budget`, with what a probe measured. Raises ConfigError (`codecs_of`)."""
    tensors = manifest(config.model)
    reach = extent(config, probe)
    prediction = predicted(config, reach.steps)
    return Plan(
        config=config,
        prediction=prediction,
        budget=config.pack.budget,
        parameters=tensors.parameters,
        dead=tensors.dead_parameters(),
        flops_per_token=flops_per_token(config.model),
        extent=reach,
        probe=probe,
        fit_bits=fit_bits(prediction.expected, filled_tensors(tensors), config.pack.budget),
    )


def predicted(config: Config, steps: int | None = None) -> Prediction:
    """The bytes of the packed artifact of `config`, by role, with an interval. Raises ConfigError.

    steps: how many optimizer steps it is trained for; None, or fewer than any model was measured at, means many.
    Cost: a fraction of a second.
    """
    measured = _measured_steps(steps)
    return predict(*_arguments(config, measured), steps=measured)


def predicted_ledger(config: Config, steps: int | None = None) -> Ledger:
    """`predicted(...).expected` alone, at a third of the cost."""
    measured = _measured_steps(steps)
    return expected_ledger(*_arguments(config, measured), steps=measured)


def planned_tensors(config: Config, steps: int | None = None) -> list[PlannedTensor]:
    """Every tensor of the manifest with its codec, the scale that training is assumed to give, and its family."""
    tensors = manifest(config.model)
    codecs, pruned = codecs_of(tensors, config), pruned_tensors(tensors, config.pack)
    share = config.pack.prune.share if config.pack.prune is not None else 0.0
    return [
        PlannedTensor(
            name=t.name,
            role=t.role,
            codec=codecs[t.name],
            shape=t.shape,
            std=_trained_std(t, tensors, config, steps),
            pruned=share if t.name in pruned else 0.0,
            family=family(t),
        )
        for t in tensors.tensors
    ]


def family(tensor: Tensor) -> str:
    """The key of artifact.predict.PEAK_SCALED: vectors, roles, and matrices by how they start."""
    if len(tensor.shape) < 2 or tensor.role in ("gate", "scalar"):
        return "vector"
    if tensor.role != "matrix":
        return tensor.role
    if tensor.init.kind == "zeros":
        return "MLP output" if ".mlp." in tensor.name else "matrix from zeros"
    return "matrix from orthogonal" if tensor.init.kind == "orthogonal" else "matrix from uniform"


def extent(config: Config, probe: Probe | None) -> Extent:
    """Steps, tokens and seconds of the config's budget, as far as they are known."""
    budget = Budget.of(config.train)
    step_tokens = config.train.rows * config.model.context
    if budget.unit == "seconds":
        if probe is None:
            return Extent(None, None, budget.amount)
        steps = max(1, math.ceil(budget.amount / probe.seconds_per_step))
        return Extent(steps, steps * step_tokens, budget.amount)
    steps = int(budget.amount) if budget.unit == "steps" else math.ceil(budget.amount / step_tokens)
    seconds = None if probe is None else steps * probe.seconds_per_step
    return Extent(steps, steps * step_tokens, seconds)


def fit_bits(ledger: Ledger, filled: Collection[str], budget: int) -> float | None:
    """Bits a weight that `pack --fit` has for the tensors `filled`, so that the file just fits.

    The others keep the bytes they have in `ledger`. None without a budget or without such tensors; negative when
    the others alone are too large.
    """
    tuned = [row for row in ledger.tensors if row.name in filled]
    elements = sum(row.elements for row in tuned)
    if not budget or not elements:
        return None
    rest = ledger.total - sum(row.bytes for row in tuned)
    return 8 * (budget - rest) / elements


def _trained_std(tensor: Tensor, tensors: Manifest, config: Config, steps: int | None) -> float:
    """0 for what starts at zero and never gets a gradient or a step."""
    optimizer = config.train.optimizers.get(tensor.role)
    frozen = tensor.name in tensors.dead or (optimizer is not None and optimizer.lr == 0)
    return 0.0 if frozen and tensor.init.kind == "zeros" else trained_std(tensor.role, tensor.shape, steps)


def _measured_steps(steps: int | None) -> int | None:
    return None if steps is None or steps < SHORT_STEPS // 2 else steps


def _arguments(
    config: Config, steps: int | None
) -> tuple[list[PlannedTensor], dict[str, Any], str, int, dict[str, Any]]:
    vocab = config.model.vocab_size
    kind = "bytes" if vocab == BYTES_VOCAB else "bpe"
    provenance = {**{key: _PROVENANCE[key] for key in PROVENANCE}, "data": _DATA}
    return planned_tensors(config, steps), to_tree(config), kind, vocab, provenance
