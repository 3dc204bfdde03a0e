"""Averages of the weights along the run, by torch.optim.swa_utils, kept in float32 like the weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from bytegolf.config.schema import Averaging, Ema, Swa


class Averager:
    """Keeps no average. `after_step` sees every step, `use` puts the average in place of the last weights."""

    @staticmethod
    def of(network: nn.Module, config: Averaging) -> Averager:
        if isinstance(config, Ema):
            return EmaAverager(network, config)
        return SwaAverager(network, config) if isinstance(config, Swa) else Averager()

    def after_step(self, multiplier: float, step: int) -> None:
        """`step` counts from 0; `multiplier` is the learning-rate multiplier it had."""

    def use(self) -> bool:
        """False, and the weights stay as they are, when there is no average."""
        return False


class _Running(Averager):
    """An AveragedModel beside the network. Costs one more copy of the weights."""

    least = 1  # snapshots that make an average

    def __init__(self, network: nn.Module, averaging: Any) -> None:
        self.network = network
        self.average = AveragedModel(network, multi_avg_fn=averaging)

    def use(self) -> bool:
        if int(self.average.n_averaged) < self.least:
            return False
        self.network.load_state_dict(self.average.module.state_dict())
        return True


class EmaAverager(_Running):
    def __init__(self, network: nn.Module, config: Ema) -> None:
        super().__init__(network, get_ema_multi_avg_fn(config.decay))  # type: ignore[no-untyped-call]

    def after_step(self, multiplier: float, step: int) -> None:
        self.average.update_parameters(self.network)


class SwaAverager(_Running):
    least = 2

    def __init__(self, network: nn.Module, config: Swa) -> None:
        super().__init__(network, get_swa_multi_avg_fn())  # type: ignore[no-untyped-call]
        self.below, self.every = config.below, config.every

    def after_step(self, multiplier: float, step: int) -> None:
        if multiplier < self.below and (step + 1) % self.every == 0:
            self.average.update_parameters(self.network)
