"""One trial of a sweep: train, pack and score, by the public commands, in a process of its own."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bytegolf.sweep.worker import Job


def run_trial(job: Job) -> dict[str, Any]:
    """The facts of a trial; `bpb` is None when training was interrupted. Goes on with what the run directory has.

    options: data, backend, device, cache, log, checkpoint_every, unpacked: score the weights before packing too.
    """
    from bytegolf.train.run_dir import MODEL, STARTED

    options, artifact = job.options, job.run / MODEL
    common = ["--data", options["data"], "--backend", options["backend"], "--device", options["device"]]
    common += ["--cache", options["cache"]] if options["cache"] else []
    training = [*common, "--checkpoint-every", str(options["checkpoint_every"])]
    for name in options["log"]:
        training += ["--log", name]
    summary = _complete(job)
    if summary is None:
        begun = (job.run / STARTED).is_file()
        words = ["--resume", str(job.run)] if begun else [str(job.config), "--out", str(job.run)]
        summary = _command("train", *words, *training)
        if summary["interrupted"]:
            return {"bpb": None}
    packed = _command("pack", str(job.run), "--out", str(artifact))
    scoring = ["--no-baselines", "--unpacked" if options["unpacked"] else "--no-unpacked"]
    scored = _command("score", str(artifact), *common, *scoring)
    return {
        "bpb": scored["bpb"],
        "unpacked_bpb": scored["unpacked_bpb"],
        "artifact_bytes": packed["total"],
        "targets": scored["targets"],
        "bytes": scored["bytes"],
        "steps": summary["steps"],
        "tokens": summary["tokens"],
        "train_seconds": summary["seconds"],
    }


def _complete(job: Job) -> dict[str, Any] | None:
    """run.json of a run whose training is through; None when there is something left to train."""
    from bytegolf.train.run_dir import SUMMARY

    if not (job.run / SUMMARY).is_file():
        return None
    summary: dict[str, Any] = json.loads((job.run / SUMMARY).read_text(encoding="utf-8"))
    return None if summary["interrupted"] else summary


def _command(*words: str) -> dict[str, Any]:
    from bytegolf.cli.app import run

    print(f"\n$ bytegolf {shlex.join(words)}", flush=True)
    result: dict[str, Any] = run(words)
    return result
