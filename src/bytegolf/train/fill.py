"""Fill a byte budget: steps for every large tensor, so that the file is as large as it may be and loses least.

    minimise  sum_i a_i s_i^2   subject to   bytes <= budget,   bytes_i ~ n_i (c_i - log2 s_i) / 8

gives s_i = sqrt(lambda n_i / (2 a_i)) for one lambda; 8 ln 2 lambda is what the last byte is worth in nats per
token. The a_i are measured (sensitivity.py), the bytes come from real encodings of the whole file with its header:
only where to look for lambda next is taken from the formula.

Rate and distortion traded by one multiplier: Y. Shoham and A. Gersho, Efficient bit allocation for an arbitrary
set of quantizers, 1988; steps and entropy coding: codec/ecsq.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bytegolf.artifact.format import Artifact, StoredTensor
from bytegolf.artifact.ledger import ledger
from bytegolf.codec.ecsq import Ecsq
from bytegolf.config.schema import Config
from bytegolf.data.loader import Batches, Shuffled
from bytegolf.data.token_stream import TokenStream
from bytegolf.errors import BudgetError
from bytegolf.model.backend import Backend, Floats, Ids
from bytegolf.model.spec import Manifest, manifest
from bytegolf.train.export import export, pruned_weights
from bytegolf.train.run_dir import Run
from bytegolf.train.sensitivity import POWERS, Loss, Profile, increase, profile

CALIBRATION_TOKENS = 8_192  # 4,096 and 16,384 gave files of the same score (LOG.md)
ROLES = ("embed", "table", "matrix", "head")
_SMALLEST = 256  # weights of a tensor; below, a histogram costs as much as it saves
_PROBE = 1 / 4  # step / rms of the first measurement: coarse enough to stand out, fine enough to be quadratic
_FINEST, _COARSEST = 2.0**-8, 4.0  # step / rms: 10 bits a weight (int8 takes some 1 / 40), a third of a bit
_LEAST = 1e-4  # of the largest sensitivity
_NEAR, _CLOSE = 1e-2, 2e-4  # of the budget: when the first and the last search end
_TRIALS = 30
_HOPELESS = 1e30  # a lambda at which every step is the coarsest


@dataclass(frozen=True)
class Knob:
    """One tensor of n weights. sensitivity: loss increase in nats per token, per weight, at a step of one rms."""

    n: int
    profile: Profile
    sensitivity: float

    def size(self, price: float) -> float:
        """s at lambda = `price`, within the finest and the coarsest."""
        relative = math.sqrt(price / (2 * self.sensitivity))
        return self.profile.rms * min(max(relative, _FINEST), _COARSEST)

    def price(self, relative: float) -> float:
        """The lambda at which s is `relative` rms."""
        return 2 * self.sensitivity * relative**2


@dataclass(frozen=True)
class Filled:
    """The artifact, its size, and the loss on the calibration rows in nats per token before and after."""

    artifact: Artifact
    total: int
    finest: bool  # every tensor has its finest step, and the budget is not used up
    tokens: int
    nats_before: float
    nats_after: float

    def to_json(self) -> dict[str, Any]:
        """What the artifact tells under provenance.fit, and the figures that came of it."""
        figures = {"finest": self.finest, "nats_before": self.nats_before, "nats_after": self.nats_after}
        return {**self.artifact.provenance["fit"], **figures}


def calibration_rows(config: Config, stream: TokenStream, tokens: int) -> Ids:
    """About `tokens` training tokens as rows (B, context + 1), disjoint, the same for the same run.

    At least one row, at most the split. Raises DataError when the split does not fill one.
    """
    context, seed = config.model.context, config.train.seed
    rows = min(max(tokens // context, 1), Shuffled(len(stream), context, 1, seed).windows_per_epoch)
    return Batches.of(stream, context=context, rows=rows, seed=seed).batch(0).ids


def filled_tensors(tensors: Manifest) -> list[str]:
    """The names of the tensors that get steps of their own: matrices of some size, in the roles that hold them."""
    return [t.name for t in tensors.tensors if t.role in ROLES and len(t.shape) > 1 and t.size >= _SMALLEST]


def fill(
    run: Run,
    config: Config,
    backend: Backend,
    rows: Ids,
    report: Callable[[float], None] = lambda share: None,
) -> Filled:
    """Pack `run` into at most `config.pack.budget` bytes and within 0.02 % of them where the steps allow it.

    Large tensors get ecsq whatever the config says of them; the others keep its codecs. rows (B, T + 1): training
    tokens. `report` gets the share done. Raises BudgetError, naming the smallest size, when the coarsest steps do
    not fit. Cost: four evaluations of the loss a tensor, two more for those whose step comes out coarse, and some
    ten encodings.
    """
    weights = pruned_weights(run, config)
    names = filled_tensors(manifest(config.model))
    loss = Loss(backend, weights, rows)
    before = loss()
    packing = _Packing(
        weights, export(run, config), {"budget": config.pack.budget, "calibration_tokens": rows[:, 1:].size}
    )
    knobs = {name: Knob(weights[name].size, profile(weights[name], 0), 1.0) for name in names}
    packing.at(knobs, _HOPELESS).within(
        config.pack.budget
    )  # a budget out of reach is refused before measuring
    for done, name in enumerate(names):
        knobs[name] = _probe(loss, before, name)
        report(0.7 * (done + 1) / len(names))
    first = _search(packing, _floored(knobs), _NEAR)
    for done, name in enumerate(names):
        found = first.sizes[name] / knobs[name].profile.rms
        if found > _PROBE:
            knobs[name] = _measured(loss, before, name, knobs[name].profile, found)
        report(0.7 + 0.25 * (done + 1) / len(names))
    last = _search(packing, _floored(knobs), _CLOSE, start=first.price)
    after = loss(last.artifact.weights())
    report(1.0)
    return Filled(last.artifact, last.total, last.finest, rows[:, 1:].size, before, after)


def _probe(loss: Loss, before: float, name: str) -> Knob:
    """The knob whose rows' steps cost least at equal bytes.

    With increase ~ s^2 and bits ~ -log2 s, 4^bits * increase does not depend on s: the least is the best.
    """
    weights = loss.weights[name]
    best: tuple[float, Knob] | None = None
    for candidate in {p.shape.tobytes(): p for p in (profile(weights, power) for power in POWERS)}.values():
        knob = _measured(loss, before, name, candidate, _PROBE)
        bits = 8 * len(Ecsq().encode_at(weights, candidate.steps(_PROBE * candidate.rms))) / weights.size
        cost = max(knob.sensitivity, 0.0) * 4.0**bits
        if best is None or cost < best[0]:
            best = cost, knob
    assert best is not None
    return best[1]


def _measured(loss: Loss, before: float, name: str, shape: Profile, relative: float) -> Knob:
    n = loss.weights[name].size
    found = increase(loss, before, name, shape.steps(relative * shape.rms))
    return Knob(n, shape, found / (n * relative**2))


def _floored(knobs: Mapping[str, Knob]) -> dict[str, Knob]:
    """No sensitivity below a ten-thousandth of the largest, so that none that noise made small or negative asks
    for a step without bounds; when noise is all there is, all are equal.
    """
    least = _LEAST * max((knob.sensitivity for knob in knobs.values()), default=0.0)
    return {
        name: replace(knob, sensitivity=max(knob.sensitivity, least) if least > 0 else 1.0)
        for name, knob in knobs.items()
    }


@dataclass(frozen=True)
class _Packing:
    """What does not change from trial to trial."""

    weights: Mapping[str, Floats]
    plain: Artifact  # with the codecs of the config
    provenance: Mapping[str, Any]

    def at(self, knobs: Mapping[str, Knob], price: float) -> _Trial:
        """The whole artifact at one lambda."""
        sizes = {name: knob.size(price) for name, knob in knobs.items()}
        tensors = tuple(self._stored(t, knobs, sizes) for t in self.plain.tensors)
        fit = {**self.provenance, "lambda": price}
        artifact = replace(self.plain, tensors=tensors, provenance={**self.plain.provenance, "fit": fit})
        return _Trial(artifact, ledger(artifact).total, sizes, price)

    def _stored(
        self, plain: StoredTensor, knobs: Mapping[str, Knob], sizes: Mapping[str, float]
    ) -> StoredTensor:
        if plain.name not in knobs:
            return plain
        steps = knobs[plain.name].profile.steps(sizes[plain.name])
        return replace(plain, codec=Ecsq.name, blob=Ecsq().encode_at(self.weights[plain.name], steps))


@dataclass(frozen=True)
class _Trial:
    artifact: Artifact
    total: int
    sizes: Mapping[str, float]
    price: float
    finest: bool = False

    def within(self, budget: int) -> None:
        """Raises BudgetError when this file, made with the coarsest steps, is larger than `budget`."""
        if self.total > budget:
            raise BudgetError(
                f"the artifact must fit into {budget:,} bytes",
                got=f"{self.total:,} bytes with the coarsest steps",
                fix=f"the smallest reachable is about {self.total:,} bytes:"
                " raise the budget or train a smaller model",
            )


def _search(packing: _Packing, knobs: Mapping[str, Knob], close: float, start: float | None = None) -> _Trial:
    """A file within the budget and at most a share `close` of it under, or as near as the trials get.

    Steps of Newton on log2 lambda, with the slope of the formula (n / 16 bytes an octave), take turns with
    bisection: alone the first creep where steps are so coarse that the slope is flatter. Sizes are whole words of
    the range coder and not quite monotone in lambda, so the largest that fits is kept. `start`: a lambda nearby.
    """
    budget = int(packing.provenance["budget"])
    low = math.log2(min((k.price(_FINEST) for k in knobs.values()), default=1.0))
    high = math.log2(max((k.price(_COARSEST) for k in knobs.values()), default=1.0))
    best, fine = packing.at(knobs, _rounded(high + 1)), packing.at(knobs, _rounded(low - 1))
    if fine.total <= budget:
        return replace(fine, finest=True)
    best.within(budget)
    slope = sum(k.n for k in knobs.values()) / 16
    at = (low + high) / 2 if start is None else min(max(math.log2(start), low), high)
    for number in range(_TRIALS):
        trial = packing.at(knobs, _rounded(at))
        if trial.total > budget:
            low = at
        else:
            high, best = at, max(best, trial, key=lambda t: t.total)
            if budget - trial.total <= close * budget:
                break
        newton = at + (trial.total - (1 - close / 2) * budget) / slope
        at = newton if number % 3 < 2 and low < newton < high else (low + high) / 2
    return best


def _rounded(octaves: float) -> float:
    """2^octaves to six digits: the lambda that the file tells is the one that made it."""
    return float(f"{2.0**octaves:.6g}")
