"""What a one-file submission does: train, pack, read back, score, and say so in the challenge's log lines.

    python train_gpt.py --data DIR                                     # all of it, into ./run
    torchrun --standalone --nproc_per_node=8 train_gpt.py --data DIR
    python train_gpt.py score run/model.golf --data DIR

DIR is a dataset folder of bytegolf. Losses, file and score are those of `bytegolf train`, `pack` and `score`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from bytegolf import registry
from bytegolf.artifact import format as golf
from bytegolf.artifact.ledger import ledger, within
from bytegolf.config.load import resolve, with_overrides
from bytegolf.config.schema import BUDGETS, Config
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.errors import DataError, UserError
from bytegolf.launch import launched
from bytegolf.model.spec import manifest
from bytegolf.model.world import ALONE, World
from bytegolf.record import challenge_log as log
from bytegolf.score.along import along
from bytegolf.score.bpb import Score, score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.packed import Packed, load_packed
from bytegolf.train.export import export
from bytegolf.train.fit import described, fit
from bytegolf.train.results import keep_scoring
from bytegolf.train.run_dir import MODEL, WEIGHTS

Say = Callable[[str], None]


def main(files: Mapping[str, str], script: str, words: Sequence[str]) -> int:
    """The whole program; returns the exit code. files: what is packed in the script, config.toml among it."""
    options = _options(words)
    try:
        settings = resolve(tomllib.loads(files["config.toml"]), where="the config inside")
        given = {key: getattr(options, key) for key in (*BUDGETS, "seed")}
        changes = [f"train.{key}={value}" for key, value in given.items() if value is not None]
        with _world(options.device) as world:
            if options.model is not None:
                return _score(options, world)
            return _train(with_overrides(settings, changes), Path(script).stat().st_size, options, world)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _options(words: Sequence[str]) -> argparse.Namespace:
    rest = list(words)
    scores = rest[:1] == ["score"]
    if rest[:1] in (["score"], ["train"]):
        del rest[0]
    parser = argparse.ArgumentParser(
        description="Train, pack and score the model of this submission, or score a packed file.",
        epilog="Commands: train (the default), score MODEL, unpack DIR.",
    )
    if scores:
        parser.add_argument("model", type=Path, help="a .golf file")
    parser.add_argument("--data", required=True, help="a dataset folder of bytegolf")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    if not scores:
        parser.set_defaults(model=None)
        parser.add_argument("--out", type=Path, default=Path("run"), help="run directory  [default: ./run]")
        parser.add_argument("--force", action="store_true", help="replace an older run in the same place")
        parser.add_argument("--seed", type=int)
        budget = parser.add_mutually_exclusive_group()
        budget.add_argument("--seconds", type=float, help="train for so many seconds")
        budget.add_argument("--steps", type=int, help="train for so many steps")
        budget.add_argument("--tokens", type=int, help="train on so many tokens")
    else:
        parser.set_defaults(seed=None, seconds=None, steps=None, tokens=None)
    return parser.parse_args(rest)


def _world(device: str) -> AbstractContextManager[World]:
    launch = launched()
    if launch.size == 1:
        return nullcontext(ALONE)
    joined: AbstractContextManager[World] = registry.lookup("world", "torch")(launch, device, 300.0)
    return joined


def _train(config: Config, code_bytes: int, options: argparse.Namespace, world: World) -> int:
    dataset = open_dataset(options.data)
    text = HeldOut.of(dataset)  # what is wrong with it is said before ten minutes are spent
    config = _with_bos(config, dataset)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if world.rank == 0:
            print(line, flush=True)

    for line in log.opening(config, manifest(config.model).parameters, world.size, described(dataset)):
        say(line)
    live = log.LiveLog(config, say)
    run = fit(
        config,
        dataset,
        options.out,
        device=options.device,
        force=options.force,
        hooks=[live],
        pauses=along(config, dataset, options.out, lambda e: say(log.validation_line(e, live.total))),
        announce=_quiet if world.rank else _aside,
        world=world,
        job=launched().job,
    )
    if run.summary["interrupted"]:
        return 130
    peak = live.last.peak_bytes if live.last is not None else 0
    for line in log.after_training(
        config, run.summary["steps"], run.summary["seconds"], peak, live.snapshots
    ):
        say(line)
    if world.rank == 0:
        artifact = export(run, config)
        within(ledger(artifact), config.pack.budget) if config.pack.budget else None
        golf.write(options.out / MODEL, artifact)
        codec = log.matrices({row.name: row.codec for row in ledger(artifact).roles})
        raw, model = ((options.out / name).stat().st_size for name in (WEIGHTS, MODEL))
        for line in log.sizes(raw, code_bytes, model, codec):
            say(line)
    world.wait()
    packed, result = _scored(options.out / MODEL, dataset, text, options.device, world)
    if world.rank == 0:
        _keep(options.out, packed, result)
        for line in _lines(packed, result):
            say(line)
        (options.out / "train.log").write_text("\n".join(said) + "\n", encoding="utf-8")
    return 0


def _score(options: argparse.Namespace, world: World) -> int:
    dataset = open_dataset(options.data)
    packed, result = _scored(options.model, dataset, HeldOut.of(dataset), options.device, world)
    if world.rank == 0:
        print(*_lines(packed, result), sep="\n", flush=True)
    return 0


def _scored(path: Path, dataset: Dataset, text: HeldOut, device: str, world: World) -> tuple[Packed, Score]:
    """The score of a file by the settings of its config, on the held-out text of a dataset."""
    packed = load_packed(path, device, world)
    if packed.tokenizer.sha256 != dataset.tokenizer.sha256:
        raise DataError(
            "the dataset must be tokenized with the tokenizer inside the model file",
            where=dataset.folder,
            fix="pass the --data that the model was trained on",
        )
    return packed, score(packed.backend, text, packed.config.resolved_score)


def _lines(packed: Packed, result: Score) -> list[str]:
    codec = log.matrices({row.name: row.codec for row in ledger(packed.artifact).roles})
    how = result.settings.model_dump(mode="json")
    return list(log.results(codec, how, result.nats_per_token, result.bpb, result.seconds))


def _keep(run: Path, packed: Packed, result: Score) -> None:
    facts: dict[str, Any] = {
        "artifact": str(run / MODEL),
        "artifact_bytes": packed.nbytes,
        "artifact_sha256": packed.sha256,
        **result.to_json(),
        "unpacked_bpb": None,
        "baselines": {},
    }
    keep_scoring(run, facts, {} if result.breakdown is None else vars(result.breakdown))


def _with_bos(config: Config, dataset: Dataset) -> Config:
    bos = dataset.tokenizer.bos_id
    return with_overrides(config, [f"model.bos_id={bos}"]) if config.model.bos_id == 0 != bos else config


def _aside(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stderr, flush=True)


def _quiet(line: str) -> None:
    """Said elsewhere, or not at all."""
