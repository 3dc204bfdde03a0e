"""Which process of how many this is: what torchrun tells the processes that it starts, by environment variables.

Beside the cache folder these are all the variables that bytegolf reads. Without torchrun there is one process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from bytegolf.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """One process of a job. rank: 0 <= rank < size, over all machines; local_rank: on this machine.

    restarts: how often torchrun has started the whole job again after a process died. job: the id of the job,
    the same before and after a restart; "" without torchrun.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarts: int = 0
    job: str = ""


def launched() -> Launch:
    """This process as torchrun started it. Raises ConfigError for variables that are no ranks of a job."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    defaults = ("0", "1", "0", "0")
    found = {name: os.environ.get(name, value) for name, value in zip(names, defaults, strict=True)}
    try:
        rank, size, local_rank, restarts = (int(value) for value in found.values())
    except ValueError:
        rank, size, local_rank, restarts = -1, 0, -1, -1
    if not (0 <= rank < size and local_rank >= 0 and restarts >= 0):
        raise ConfigError(
            "the environment must name one rank of a job, or none of it",
            got=", ".join(f"{name}={value}" for name, value in found.items()),
            where="the variables that torchrun sets",
            fix="start the job with torchrun (docs/scale.md), or unset these variables",
        )
    return Launch(rank, size, local_rank, restarts, os.environ.get("TORCHELASTIC_RUN_ID", ""))
