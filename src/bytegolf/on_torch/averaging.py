"""Averages of the weights along the run, by the formulas of torch.optim.swa_utils, in float32 like the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from bytegolf.config.schema import Averaging, Ema, Swa
from bytegolf.model.averaging import least_snapshots, takes_snapshot
from bytegolf.model.world import ALONE, World
from bytegolf.on_torch.dist import spread_from


class Averager:
    """Keeps no average. `after_step` sees every step, `use` puts the average in place of the last weights."""

    @staticmethod
    def of(network: nn.Module, config: Averaging, world: World = ALONE) -> Averager:
        if isinstance(config, Ema):
            return EmaAverager(network, config, world)
        return SwaAverager(network, config, world) if isinstance(config, Swa) else Averager()

    def after_step(self, multiplier: float, step: int) -> None:
        """`step` counts from 0; `multiplier` is the learning-rate multiplier it had."""

    def use(self) -> bool:
        """False, and the weights stay as they are, when there is no average."""
        return False

    def state(self) -> dict[str, torch.Tensor]:
        """The average of every tensor by its name, and how many went into it. All ranks call it together."""
        return {}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what `state` gave, in a world of any size."""
        assert not state, "this run keeps no average"


class _Running(Averager):
    """A running average of `count` snapshots. `formula` moves averages (list) towards weights (list).

    Every rank averages its share of the tensors, so all of them together keep one more copy of the weights. The
    count is a number of the host: torch's AveragedModel keeps it in a tensor, and asks the device at every step.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Ema | Swa,
        formula: Callable[[Any, Any, int], None],
        world: World = ALONE,
    ) -> None:
        self.config, self.formula, self.world, self.count = config, formula, world, 0
        self.all = {name: parameter.data for name, parameter in network.named_parameters()}
        self.owners = {name: place % world.size for place, name in enumerate(self.all)}
        self.mine = {n: w.clone() for n, w in self.all.items() if self.owners[n] == world.rank}

    def after_step(self, multiplier: float, step: int) -> None:
        if takes_snapshot(self.config, multiplier, step):
            self.take_snapshot()

    @torch.no_grad()
    def take_snapshot(self) -> None:
        averages, weights = list(self.mine.values()), [self.all[name] for name in self.mine]
        if self.count == 0:
            torch._foreach_copy_(averages, weights)
        elif averages:
            self.formula(averages, weights, self.count)
        self.count += 1

    def use(self) -> bool:
        if self.count < least_snapshots(self.config):
            return False
        for name, value in self._averages().items():
            self.all[name].copy_(value)
        return True

    def state(self) -> dict[str, torch.Tensor]:
        return {"count": torch.tensor(self.count), **self._averages()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        assert state.keys() == {"count", *self.all}, "an average of other tensors"
        self.count = int(state["count"])
        for name, value in self.mine.items():
            value.copy_(state[name])

    def _averages(self) -> dict[str, torch.Tensor]:
        """Of all tensors, from the ranks that keep them."""
        found = {}
        for name, weights in self.all.items():
            found[name] = self.mine[name] if name in self.mine else torch.empty_like(weights)
            if self.world.size > 1:
                spread_from(found[name], self.owners[name])
        return found


class EmaAverager(_Running):
    def __init__(self, network: nn.Module, config: Ema, world: World = ALONE) -> None:
        formula = get_ema_multi_avg_fn(config.decay)  # type: ignore[no-untyped-call]
        super().__init__(network, config, formula, world)


class SwaAverager(_Running):
    def __init__(self, network: nn.Module, config: Swa, world: World = ALONE) -> None:
        super().__init__(network, config, get_swa_multi_avg_fn(), world)  # type: ignore[no-untyped-call]
