"""Several ranks on one machine: each a fork of a process that has torch imported and has not used it yet.

Run as a script, because a process that has used torch cannot be forked. Prints one JSON object: for each scenario
what every rank returned, or the message of its UserError.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch._dynamo  # the optimizers import it at their first step, which every fork would do again

from bytegolf.data.dataset import Dataset
from bytegolf.errors import UserError
from bytegolf.launch import launched
from bytegolf.model.world import World
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.dist import join
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from bytegolf.train.fit import fit
from bytegolf.train.loop import StepRecord
from tiny import tiny_config, tiny_dataset

Work = Callable[[World], Any]

CONFIG = (
    "train.rows=8",
    "train.steps=6",
    "train.clip=0.5",
    "train.averaging={kind='ema', decay=0.7}",
    "model.layers=3",
    "train.optimizers.matrix={kind='muon', lr=0.02, weight_decay=0.1}",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(size: int, work: Work, present: int | None = None, patience: float = 30.0) -> list[Any]:
    """What `work` returns on each rank, or {"error": ...}; None for a rank that died. `present` of them start."""
    port, pipes = free_port(), []
    for rank in range(size if present is None else present):
        end, begin = os.pipe()
        if os.fork() == 0:
            os.close(end)
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                with join(launched(), "cpu", patience) as world:
                    result = work(world)
            except UserError as error:
                result = {"error": str(error)}
            os.write(begin, json.dumps(result).encode())
            os._exit(0)
        os.close(begin)
        pipes.append(end)
    told = [b"".join(iter(lambda end=end: os.read(end, 1 << 16), b"")) for end in pipes]
    for _ in pipes:
        os.wait()
    return [json.loads(text) if text else None for text in told]


def trained(data: Dataset, out: Path, world: World, *overrides: str, **options: Any) -> dict[str, Any]:
    """A short run and its score."""
    config = tiny_config(*CONFIG, *overrides)
    losses: list[float] = []

    class Losses:
        def on_step(self, record: StepRecord) -> None:
            losses.append(record.loss)

        def close(self) -> None:
            pass

    run = fit(config, data, out, device="cpu", world=world, hooks=[Losses()], **options)
    backend = TorchBackend(config.model, device="cpu", world=world)
    if world.rank == 0:
        weights = run.weights()
    backend.load(world.share(weights if world.rank == 0 else None))
    settings = config.score.model_copy(update={"context": 16, "stride": 16})
    isolated = settings.model_copy(update={"documents": "isolated"})
    summary = run.summary
    return {
        "losses": losses,
        "bpb": [score(backend, HeldOut.of(data), s).bpb for s in (settings, isolated)],
        "weights": hashlib.sha256(b"".join(w.tobytes() for w in backend.weights().values())).hexdigest(),
        "totals": [summary[key] for key in ("steps", "tokens", "documents", "processes", "averaged")],
        "files": sorted(path.name for path in out.iterdir()),
    }


def scenarios(folder: Path) -> dict[str, Any]:
    data = tiny_dataset(folder / "data")
    found: dict[str, Any] = {}
    for size in (1, 2, 4):
        found[f"world {size}"] = together(size, lambda w: trained(data, folder / f"world{w.size}", w))
    parts = ("train.micro_rows=2", "train.averaging={kind='swa', below=0.9, every=1}")
    for size in (1, 2):
        found[f"parts {size}"] = together(size, lambda w: trained(data, folder / f"parts{w.size}", w, *parts))

    def stopped(world: World) -> Any:
        """Stopped by a step that asks for too much, with a checkpoint after every step."""

        class Stops:
            def on_step(self, record: StepRecord) -> None:
                if record.step == 3:
                    raise UserError("enough")

            def close(self) -> None:
                pass

        config = tiny_config(*CONFIG)
        fit(
            config,
            data,
            folder / "resumed",
            device="cpu",
            world=world,
            hooks=[Stops()],
            checkpoint_seconds=1e-9,
        )

    found["stopped"] = together(2, stopped)
    found["resumed by 1"] = together(1, lambda w: trained(data, folder / "resumed", w, resume=True))

    def dies(world: World) -> Any:
        class Dies:
            def on_step(self, record: StepRecord) -> None:
                if record.step == 2 and world.rank == 1:
                    os._exit(9)

            def close(self) -> None:
                pass

        fit(tiny_config(*CONFIG), data, folder / "dies", device="cpu", world=world, hooks=[Dies()])

    found["dies"] = together(2, dies)
    found["uneven"] = together(3, lambda w: trained(data, folder / "uneven", w))
    begun = time.monotonic()
    found["missing"] = together(3, lambda w: w.size, present=2, patience=1.0)
    found["missing seconds"] = time.monotonic() - begun
    adapted = tiny_config("score.adaptation={kind='sgd', lr=0.1, chunk=8}").score

    def learns(world: World) -> float:
        backend = TorchBackend(tiny_config().model, device="cpu", world=world)
        return score(backend, HeldOut.of(data), adapted).bpb

    found["adapts"] = together(2, learns)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(scenarios(Path(sys.argv[1]))))
