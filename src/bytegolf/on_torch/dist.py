"""The world of torch.distributed: NCCL between GPUs, gloo between CPUs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from bytegolf.errors import WorldError
from bytegolf.launch import Launch
from bytegolf.model.world import ALONE, World
from bytegolf.on_torch.device import choose_device

# Rank 0 may write a checkpoint, or a dataset, while the others wait.
PATIENCE = timedelta(minutes=30)


def join(launch: Launch, device: str, join_seconds: float) -> World:
    """The world that `launch` is a part of; it comes back when every rank has joined.

    Raises WorldError when a rank does not come within `join_seconds`, or there are more processes on this machine
    than GPUs.
    """
    if launch.size == 1:
        return ALONE
    place = local_device(device, launch.local_rank)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # What the host tells the other hosts goes by gloo, so that it never waits for a device.
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    missing: list[int] = []
    try:
        store = _store(launch, timedelta(seconds=join_seconds), missing)
        dist.init_process_group(
            backend, store=store, rank=launch.rank, world_size=launch.size, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:  # what torch raises, some of it as DistError
        absent = f"without rank {', '.join(map(str, missing))}: " if missing else ""
        raise WorldError(
            f"all {launch.size} processes of the job must start within {join_seconds:g} s",
            got=absent + str(error).partition("\n")[0],
            where=f"rank {launch.rank}",
            fix="start the missing ones, check that every machine can reach the master address and port, or wait"
            " longer with --join-seconds",
        ) from None
    return TorchWorld(launch, place)


def _store(launch: Launch, patience: timedelta, missing: list[int]) -> Any:
    """The store of the job, when every rank has signed in it; else `missing` gets those that have not."""
    shared, *_ = next(iter(rendezvous("env://", launch.rank, launch.size, timeout=patience)))
    # torchrun keeps its store when it starts the job again, with the addresses of the dead in it.
    store = PrefixStore(f"attempt {launch.restarts}", shared)
    keys = [f"here/{rank}" for rank in range(launch.size)]
    store.set(keys[launch.rank], "")
    try:
        store.wait(keys, patience)
    except dist.DistError:
        missing += [rank for rank, key in enumerate(keys) if not store.check([key])]
        raise
    return store


def local_device(device: str, local_rank: int) -> torch.device:
    """The device of one process: on CUDA the GPU of its local rank. Raises WorldError when there is none."""
    place = choose_device(device)
    if place.type != "cuda":
        return place
    if local_rank >= torch.cuda.device_count():
        raise WorldError(
            "every process on a machine needs a GPU of its own",
            got=f"local rank {local_rank} on a machine with {torch.cuda.device_count()} GPUs",
            where="--nproc_per_node of torchrun",
            fix=f"start {torch.cuda.device_count()} processes, or pass --device cpu",
        )
    return torch.device("cuda", local_rank)


class TorchWorld:
    """A `model.world.World` over the default process group."""

    def __init__(self, launch: Launch, place: torch.device) -> None:
        self.rank, self.size, self.place = launch.rank, launch.size, place

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = gathered(self, torch.tensor(values, dtype=torch.float64)).numpy()
        return found

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        summed = torch.tensor(values, dtype=torch.float64)
        with _named("adding up"):
            dist.all_reduce(summed)
        result: NDArray[np.float64] = summed.numpy()
        return result

    def share(self, value: Any) -> Any:
        box = [value if self.rank == 0 else None]
        with _named("hearing from rank 0"):
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        self.gather([0.0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """After an error the others may be gone: then there is nobody to say goodbye to."""
        if kind is None:
            self.wait()
            gc.collect()  # DDP holds on to the group, in circles of references
            dist.destroy_process_group()


def gathered(world: World, mine: torch.Tensor) -> torch.Tensor:
    """The tensors (n, ...) of every rank, of the same shape, as (size, n, ...)."""
    everyone = mine.new_empty((world.size, *mine.shape))
    with _named("gathering"):
        dist.all_gather(list(everyone.unbind(0)), mine.contiguous())
    return everyone


def spread_from(tensor: torch.Tensor, owner: int) -> None:
    """Every rank gets the tensor of rank `owner`, in place."""
    with _named("spreading"):
        dist.broadcast(tensor, src=owner)


def lost(error: RuntimeError) -> WorldError:
    """What to say when another process has gone in the middle of the work."""
    return WorldError(
        "every process of the job must stay until the end",
        got=str(error).partition("\n")[0].partition(". This is")[0],  # gloo goes on to give advice
        fix="see above for the rank that failed first; `--resume` goes on from the newest checkpoint, and torchrun"
        " --max-restarts does so by itself",
    )


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise lost(RuntimeError(f"{what}: {error}")) from None


def guarded(work: Callable[[], Any]) -> Any:
    """`work`, in which torch itself speaks with the other ranks. Raises WorldError when one has gone."""
    try:
        return work()
    except RuntimeError as error:
        if any(sign in str(error) for sign in ("Connection", "NCCL", "gloo", "timed out", "Timed out")):
            raise lost(error) from None
        raise
