"""Optimizers from the role table: every parameter in exactly one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import nn

from bytegolf.config.schema import AdamW, Muon, Role, Train
from bytegolf.model.optimizing import groups
from bytegolf.model.world import ALONE, World
from bytegolf.numeric.schedule import ramp
from bytegolf.on_torch.optim.muon import Muon as BatchedMuon


class Optimizers:
    """Muon and torch.optim.AdamW, each holding the parameters of the roles assigned to it.

    Raises ConfigError when a role of the model has no optimizer, or Muon gets a tensor that is no matrix.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        roles: Mapping[str, Role],
        train: Train,
        ns_dtype: torch.dtype,
        world: World = ALONE,
    ) -> None:
        self.names: dict[torch.Tensor, str] = {parameter: name for name, parameter in parameters.items()}
        self.optimizers: list[torch.optim.Optimizer] = []
        adam_groups = []
        for group in groups({name: tuple(p.shape) for name, p in parameters.items()}, roles, train):
            members = [parameters[name] for name in group.names]
            if isinstance(group.config, Muon):
                self.optimizers.append(_muon(members, group.config, ns_dtype, world))
            else:
                adam_groups.append(_adamw_group(members, group.config))
        if adam_groups:
            self.optimizers.append(torch.optim.AdamW(adam_groups, fused=True))
        for optimizer in self.optimizers:
            for settings in optimizer.param_groups:
                settings["base_lr"] = settings["lr"]
        in_groups = [id(p) for o in self.optimizers for g in o.param_groups for p in g["params"]]
        assert len(parameters) == len(set(in_groups)) == len(in_groups), "cover is not exact"

    def step(self, multiplier: float, step: int) -> None:
        """One update at the scheduled learning rates; `step` counts from 0 and drives the momentum warm-up."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * multiplier
            if isinstance(optimizer, BatchedMuon):
                optimizer.set_momentum(ramp(step, *optimizer.param_groups[0]["momentum_ramp"]))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a step changes beside the weights: `TENSOR.KEY`, and the momentum Muon has come to."""
        found = {}
        for i, optimizer in enumerate(self.optimizers):
            if isinstance(optimizer, BatchedMuon):
                momentum = optimizer.param_groups[0]["momentum"]
                found[f"{i}.momentum"] = torch.tensor(momentum, dtype=torch.float64)
            for parameter, entries in optimizer.state.items():
                found |= {f"{self.names[parameter]}.{key}": value for key, value in entries.items()}
        return found

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what `state` gave, on any device; what is not named is forgotten."""
        by_tensor: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, value in state.items():
            tensor, _, key = name.rpartition(".")
            by_tensor[tensor][key] = value
        for i, optimizer in enumerate(self.optimizers):
            optimizer.state.clear()
            if isinstance(optimizer, BatchedMuon):
                optimizer.param_groups[0]["momentum"] = float(by_tensor.pop(str(i))["momentum"])
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                entries = by_tensor.pop(self.names[parameter], {})
                if entries:
                    optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in entries.items()}
        assert not by_tensor, f"state of unknown tensors: {sorted(by_tensor)[:5]}"


def _muon(
    members: list[nn.Parameter], config: Muon, ns_dtype: torch.dtype, world: World
) -> torch.optim.Optimizer:
    muon = BatchedMuon(
        members,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        ns_dtype=ns_dtype,
        world=world,
    )
    muon.param_groups[0]["momentum_ramp"] = (
        config.momentum_start,
        config.momentum,
        config.momentum_warmup_steps,
    )
    return muon


def _adamw_group(members: list[nn.Parameter], config: AdamW) -> dict[str, object]:
    return {
        "params": members,
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "betas": config.betas,
        "eps": config.eps,
    }
