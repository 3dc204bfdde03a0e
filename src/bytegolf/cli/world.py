"""What `train` and `score` do when torchrun starts several of them as one job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from bytegolf.cli.backends import Place
from bytegolf.launch import launched
from bytegolf.model.world import ALONE, World

if TYPE_CHECKING:
    from bytegolf.data.dataset import Dataset

JOIN_SECONDS = typer.Option(
    300.0, "--join-seconds", min=1.0, help="Under torchrun: how long to wait for the other processes."
)
# Commands that several processes may share.
TOGETHER = ("train", "score")


def join(place: Place, seconds: float) -> World:
    """The other processes of the job, or none. Raises WorldError when one does not come in time."""
    launch = launched()
    if launch.size == 1:
        return ALONE
    from bytegolf import registry

    world: World = registry.lookup("world", place.backend)(launch, place.device, seconds)
    return world


def first_on_rank_0(world: World, make: Callable[[], Dataset]) -> Dataset:
    """What rank 0 may have to build before the others can open it."""
    if world.rank == 0:
        made = make()
        world.wait()
        return made
    world.wait()
    return make()
