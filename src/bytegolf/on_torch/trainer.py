"""Training on torch: mixed precision, clipping, optimizers by role, averages, on one device or on many."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bytegolf.config.schema import Train
from bytegolf.errors import ConfigError
from bytegolf.model.backend import Ids, StepResult
from bytegolf.model.machine import has_compiler
from bytegolf.model.spec import manifest
from bytegolf.model.world import ALONE, World
from bytegolf.on_torch.averaging import Averager
from bytegolf.on_torch.device import choose_precision, peak_bytes
from bytegolf.on_torch.dist import guarded
from bytegolf.on_torch.gpt import Gpt
from bytegolf.on_torch.optim.groups import Optimizers

if TYPE_CHECKING:
    from bytegolf.on_torch.backend import TorchBackend

# Steps that CUDA may hold while the host goes on: enough that the GPU never waits, few enough to stop in time.
STEPS_AHEAD = 2


class Loss(nn.Module):
    """Mean nats per token of rows (B, T + 1). A module, because that is what DDP wraps."""

    def __init__(self, gpt: Gpt, dtype: torch.dtype) -> None:
        super().__init__()
        self.gpt, self.dtype = gpt, dtype

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return self.gpt.nll(ids_BT[:, :-1], ids_BT[:, 1:], self.dtype).mean()


class TorchTrainer:
    """A `model.backend.Trainer`.

    In a world of several ranks DDP averages the gradients, and every rank applies the same update to its copy of
    the weights. On CUDA `begin` only puts work into the device's queue; nothing in it waits for the device.
    """

    def __init__(self, backend: TorchBackend, train: Train, world: World = ALONE) -> None:
        self.backend, self.world = backend, world
        gpt, place = backend.gpt, backend.torch_device
        self.ahead = STEPS_AHEAD if place.type == "cuda" else 0
        # A probe may choose differently on every rank, so rank 0 chooses.
        self.dtype, reason = world.share(choose_precision(train.precision, place))
        backend.precision = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self.dtype]
        backend.notes.append(f"training in {backend.precision}: {reason}")
        roles = manifest(backend.model).roles()
        self.optimizers = Optimizers(dict(gpt.named_parameters()), roles, train, self.dtype, world)
        self.clip = train.clip
        self.train = train
        self.average = Averager.of(gpt, train.averaging, world)
        loss: Any = Loss(gpt, self.dtype)
        self.compiled = place.type == "cuda" if train.compile == "auto" else train.compile
        if self.compiled:
            require_compiler(backend.device)
            loss = torch.compile(loss, dynamic=False)
            backend.notes.append("compiled by torch.compile")
        if world.size > 1:
            backend.notes.append(f"{world.size} processes")
            loss = guarded(partial(_in_parallel, loss, place))
        self.loss = loss
        self._begun: deque[Callable[[], StepResult]] = deque()

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        self.begin(batch, multiplier, step)
        return self.finish()

    def begin(self, batch: Ids, multiplier: float, step: int) -> None:
        ids_BT = put(torch.from_numpy(batch), self.backend.torch_device)
        parts = torch.split(ids_BT, self.train.rows_at_a_time(len(ids_BT), self.backend.model.context))
        losses = []
        for i, part in enumerate(parts):
            share = len(part) / len(ids_BT)
            losses.append(guarded(partial(self._backward, part, share, last=i == len(parts) - 1)))
        loss = sum(losses[1:], start=losses[0])
        parameters = self.backend.gpt.parameters()
        norm = nn.utils.clip_grad_norm_(parameters, self.clip if self.clip > 0 else float("inf"))
        # Where looking does not cost anything, a step that diverged leaves the weights of the last good one.
        if self.ahead or bool(torch.isfinite(norm) & torch.isfinite(loss)):
            self.optimizers.step(multiplier, step)
            self.average.after_step(multiplier, step)
        self._begun.append(self._result(loss, norm))

    def finish(self) -> StepResult:
        return self._begun.popleft()()

    def _backward(self, ids_BT: torch.Tensor, share: float, last: bool) -> torch.Tensor:
        """Add the gradient of a part of the batch; returns its share of the mean loss. Ranks meet in the last."""
        apart = self.world.size > 1 and not last
        with self.loss.no_sync() if apart else nullcontext():
            with torch.autocast(self.backend.device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                loss: torch.Tensor = self.loss(ids_BT) * share
            torch.autograd.backward(loss)
        return loss.detach()

    def _result(self, loss: torch.Tensor, norm: torch.Tensor) -> Callable[[], StepResult]:
        """What gives the figures of a step, once the device has come to its end."""
        if not self.ahead:
            return lambda: StepResult(float(loss), float(norm))
        figures = torch.empty(2, pin_memory=True)
        figures.copy_(torch.stack([loss, norm]), non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()

        def read() -> StepResult:
            done.synchronize()
            return StepResult(float(figures[0]), float(figures[1]))

        return read

    def use_averaged(self) -> bool:
        return self.average.use()

    def peak_bytes(self) -> int:
        return peak_bytes(self.backend.torch_device)

    def state(self) -> dict[str, NDArray[Any]]:
        assert not self._begun, "a state lies between two steps"
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "weights": self.backend.gpt.state_dict(),
            "optimizer": self.optimizers.state(),
            "average": self.average.state(),
            "random": _random_state(self.backend.torch_device),
        }
        return {
            f"{part}/{name}": value.detach().cpu().numpy().copy()
            for part, tensors in parts.items()
            for name, value in tensors.items()
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {
            "weights": {},
            "optimizer": {},
            "average": {},
            "random": {},
        }
        for key, array in state.items():
            part, _, name = key.partition("/")
            parts[part][name] = torch.from_numpy(np.array(array))
        self.backend.gpt.load_state_dict(parts["weights"])
        self.backend.gpt.zero_grad(set_to_none=True)
        self.optimizers.load_state(parts["optimizer"])
        self.average.load_state(parts["average"])
        if "cpu" in parts["random"]:  # a run that began on another backend has none
            torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"] and self.backend.torch_device.type == "cuda":
            torch.cuda.set_rng_state(parts["random"]["cuda"], self.backend.torch_device)


def _in_parallel(loss: nn.Module, place: torch.device) -> nn.Module:
    """DDP. The buffers are tables of RoPE, the same on every rank: nobody has to send them at every step."""
    devices = [place.index] if place.type == "cuda" else None
    with warnings.catch_warnings():
        # torch 2.13 has a new name for broadcast_buffers, which the releases before do not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            loss, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
        )


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host tensor on the device. To CUDA it goes by pinned memory: else the host waits for all work before."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def require_compiler(device: str) -> None:
    """torch.compile on the CPU builds C++. Raises ConfigError when no compiler is on the PATH."""
    if device == "cpu" and not has_compiler():
        raise ConfigError(
            "torch.compile needs a C++ compiler on the PATH",
            where="train.compile",
            fix="install g++ or clang++, or leave train.compile=false",
        )
