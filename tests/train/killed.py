"""A training run in a process that is killed at random moments, again and again, until it is through.

Run as a script: killed.py FOLDER KILLS. Each process is a fork of this one, which has torch imported and has not
used it yet, so that a kill costs a fraction of a second. Prints one JSON object of what happened.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch._dynamo  # the optimizers import it at their first step, which every fork would do again

from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.train.fit import fit
from bytegolf.train.run_dir import CHECKPOINTS, STARTED, WEIGHTS
from tiny import tiny_config, tiny_dataset

STEPS = 120
CONFIG = (
    f"train.steps={STEPS}",
    "train.clip=0.5",
    "train.averaging={kind='swa', below=0.9, every=3}",
    "train.optimizers.matrix={kind='muon', lr=0.02, weight_decay=0.1, momentum_warmup_steps=50}",
    "train.order='strided'",
)


def train(data: Dataset, out: Path) -> None:
    """As the command line would: go on when there is something to go on with."""
    fit(
        tiny_config(*CONFIG),
        data,
        out,
        device="cpu",
        resume=(out / STARTED).exists(),
        checkpoint_seconds=0.02,
        announce=lambda line: print(line, file=sys.stderr),
    )


def forked(data: Dataset, out: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            train(data, out)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def main(folder: Path, kills: int) -> None:
    data = open_dataset(tiny_dataset(folder / "data").folder)
    whole, killed, chance = folder / "whole", folder / "killed", random.Random(0)
    begun = time.monotonic()
    assert os.waitpid(forked(data, whole), 0)[1] == 0
    patience = time.monotonic() - begun
    done, codes = 0, []
    while not codes or codes[-1] != 0:
        child = forked(data, killed)
        if done < kills:
            # Any moment; at the latest when it has done its share, or the run would be through too soon.
            end = time.monotonic() + chance.uniform(0, 0.4 * patience)
            while time.monotonic() < end and progress(killed) < (done + 1) / (kills + 1):
                time.sleep(0.002)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        codes.append(os.waitstatus_to_exitcode(status))
        assert codes[-1] in (0, -signal.SIGKILL), codes
        done += codes[-1] != 0
    print(json.dumps({"kills": done, "same": same(whole, killed), "left": sorted(os.listdir(killed))}))


def progress(run: Path) -> float:
    """Share of the steps that a checkpoint holds."""
    steps = [int(path.stem.removeprefix("step-")) for path in (run / CHECKPOINTS).glob("step-*.ckpt")]
    return max(steps, default=0) / STEPS


def same(whole: Path, killed: Path) -> bool:
    lines = []
    for run in (whole, killed):
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for record in records:
            for what in ("seconds", "loader_wait", "peak_bytes"):
                del record[what]
        lines.append(records)
    return lines[0] == lines[1] and (whole / WEIGHTS).read_bytes() == (killed / WEIGHTS).read_bytes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
