"""Optimizers from the role table: every parameter in exactly one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.optimizers import Optimizer
from numpy.typing import NDArray

from bytegolf.config.schema import AdamW, Muon, Role, Train
from bytegolf.model.optimizing import Group, groups
from bytegolf.numeric.schedule import ramp
from bytegolf.on_mlx.optim.muon import Muon as BatchedMuon

# What an entry of AdamW's state is called here and in a checkpoint, where torch's names are those of the format.
ADAM_KEYS = {"m": "exp_avg", "v": "exp_avg_sq"}


class Optimizers:
    """One optimizer for each role: Muon, or mlx.optimizers.AdamW with bias correction, which is off by default.

    Raises ConfigError as `model.optimizing.groups` does.
    """

    def __init__(
        self, parameters: Mapping[str, mx.array], roles: Mapping[str, Role], train: Train, ns_dtype: mx.Dtype
    ) -> None:
        shapes = {name: array.shape for name, array in parameters.items()}
        self.members: list[tuple[Group, Optimizer]] = []
        for group in groups(shapes, roles, train):
            optimizer = _made(group.config, ns_dtype)
            optimizer.init({name: parameters[name] for name in group.names})
            self.members.append((group, optimizer))

    @property
    def arrays(self) -> list[dict[str, object]]:
        """All that changes, for mx.compile to capture and mx.eval to wait for."""
        return [optimizer.state for _, optimizer in self.members]

    def schedule(self, multiplier: float, step: int) -> None:
        """Set rates and momenta of the step that comes; `step` counts from 0 and drives the momentum warm-up."""
        for group, optimizer in self.members:
            optimizer.learning_rate = group.config.lr * multiplier
            if isinstance(optimizer, BatchedMuon):
                optimizer.set_momentum(ramp(step, *optimizer.momentum_ramp))

    def update(
        self, gradients: Mapping[str, mx.array], weights: Mapping[str, mx.array]
    ) -> dict[str, mx.array]:
        """The weights after one update, by name."""
        updated: dict[str, mx.array] = {}
        for group, optimizer in self.members:
            mine = {name: gradients[name] for name in group.names}
            updated |= optimizer.apply_gradients(mine, {name: weights[name] for name in group.names})
        return updated

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that a step changes beside the weights, under the names of the torch twin.

        `TENSOR.KEY`, and `NUMBER.momentum`, what the Muon of that number among the Muons has come to.
        """
        found: dict[str, NDArray[np.generic]] = {}
        muons = [optimizer for _, optimizer in self.members if isinstance(optimizer, BatchedMuon)]
        for number, muon in enumerate(muons):
            found[f"{number}.momentum"] = np.array(muon.momentum, np.float64)
        for group, optimizer in self.members:
            steps = int(optimizer.step)
            for name in group.names if steps else ():
                for key, value in optimizer.state[name].items():
                    found[f"{name}.{ADAM_KEYS.get(key, key)}"] = np.array(value)
                if isinstance(group.config, AdamW):
                    found[f"{name}.step"] = np.array(steps, np.float32)
        return found

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take what `state` gave, here or on torch; what is not named is forgotten."""
        by_tensor: dict[str, dict[str, NDArray[np.generic]]] = defaultdict(dict)
        for name, value in state.items():
            tensor, _, key = name.rpartition(".")
            by_tensor[tensor][key] = value
        muons = 0
        for group, optimizer in self.members:
            steps = 0
            if isinstance(optimizer, BatchedMuon):
                optimizer.set_momentum(float(by_tensor.pop(str(muons))["momentum"]))
                muons += 1
            for name in group.names:
                kept = by_tensor.pop(name, {})
                if "step" in kept:
                    steps = int(kept["step"])
                elif kept:
                    steps = 1  # Muon counts nothing; only whether it has begun
                for key, old in optimizer.state[name].items():
                    found = kept.get(ADAM_KEYS.get(key, key))
                    optimizer.state[name][key] = mx.zeros_like(old) if found is None else mx.array(found)
            optimizer.state["step"] = mx.array(steps, mx.uint64)
        assert not by_tensor, f"state of unknown tensors: {sorted(by_tensor)[:5]}"


def _made(config: Muon | AdamW, ns_dtype: mx.Dtype) -> Optimizer:
    if isinstance(config, Muon):
        return BatchedMuon(config, ns_dtype)
    return optim.AdamW(config.lr, list(config.betas), config.eps, config.weight_decay, bias_correction=True)
