"""The log lines of Parameter Golf's training scripts, as functions of figures.

Keys and formats are those that the published scripts share, so that parsers of their logs read these. Two things
are told apart that published logs have mixed up: a score with overlapping windows stands under `sliding_window`,
and one without under `roundtrip` (PR 162 printed the first under the key of the second); and `val_loss` is nats
per token. iterations and the N of `step:i/N` are 0 where no number of steps is the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bytegolf.config.schema import Config, Swa
from bytegolf.model.averaging import least_snapshots, takes_snapshot
from bytegolf.train.loop import StepRecord

EVERY = 50  # steps between two lines, after the first ten
FIRST = 10
MIB = 1 << 20


def iterations(config: Config) -> int:
    """Steps that the budget allows, 0 for one in seconds."""
    train = config.train
    if train.steps is not None:
        return train.steps
    return 0 if train.tokens is None else math.ceil(train.tokens / (train.rows * config.model.context))


def opening(config: Config, parameters: int, processes: int, data: Mapping[str, Any]) -> Iterator[str]:
    """What is trained on what; data: as in run.json."""
    train, attention = config.train, config.model.attention
    rows = math.ceil(train.rows / processes)
    accumulated = math.ceil(rows / train.rows_at_a_time(rows, config.model.context))
    lr = {role: optimizer.lr for role, optimizer in train.optimizers.items()}
    tied = config.model.head.kind == "tied"
    yield f"val_bpb:enabled tokenizer_kind={data['tokenizer_kind']} tokenizer_path=tokenizer.bin"
    yield f"train_loader:dataset:{data['name']} train_shards:{data['train_shards']}"
    yield f"val_loader:shards pattern={data['name']}/val tokens:{data['val_tokens']}"
    yield f"model_params:{parameters}"
    yield f"world_size:{processes} grad_accum_steps:{accumulated}"
    yield f"attention_mode:{attention.kind} num_heads:{attention.heads} num_kv_heads:{attention.kv_heads}"
    yield (
        f"tie_embeddings:{tied} embed_lr:{lr.get('embed', 0.0)} head_lr:{lr.get('head', 0.0)} "
        f"matrix_lr:{lr.get('matrix', 0.0)} scalar_lr:{lr.get('scalar', 0.0)}"
    )
    yield (
        f"train_batch_tokens:{train.rows * config.model.context} train_seq_len:{config.model.context} "
        f"iterations:{iterations(config)} warmup_steps:{train.compile_warmup_steps} "
        f"max_wallclock_seconds:{train.seconds or 0.0:.3f}"
    )
    yield f"seed:{train.seed}"


def wanted(step: int) -> bool:
    """Whether a step has a line of its own; the last one gets one too."""
    return step <= FIRST or step % EVERY == 0


def step_line(step: int, total: int, loss: float, seconds: float) -> str:
    return f"step:{step}/{total} train_loss:{loss:.4f} {_time(step, seconds)}"


def validation_line(entry: Mapping[str, Any], total: int) -> str:
    step = entry["step"]
    figures = f"val_loss:{entry['nats_per_token']:.4f} val_bpb:{entry['bpb']:.4f}"
    return f"step:{step}/{total} {figures} {_time(step, entry['seconds'])}"


def _time(step: int, seconds: float) -> str:
    return f"train_time:{1000 * seconds:.0f}ms step_avg:{1000 * seconds / max(step, 1):.2f}ms"


class Snapshots:
    """The lines about an average of snapshots (SWA): where it began, and of how many it is."""

    def __init__(self, config: Config) -> None:
        self.config, self.count = config.train.averaging, 0

    def after(self, step: int, multiplier: float) -> Iterator[str]:
        """step counts from 1; multiplier: of the learning rate in it."""
        if isinstance(self.config, Swa) and takes_snapshot(self.config, multiplier, step - 1):
            self.count += 1
            if self.count == 1:
                yield f"swa:start step:{step}"

    def applied(self) -> Iterator[str]:
        if isinstance(self.config, Swa) and self.count >= least_snapshots(self.config):
            yield f"swa:applying averaged {self.count} checkpoints"


def after_training(
    config: Config, steps: int, seconds: float, peak_bytes: int, snapshots: Snapshots
) -> Iterator[str]:
    if config.train.seconds is not None:
        time = f"train_time:{1000 * seconds:.0f}ms"
        yield f"stopping_early: wallclock_cap {time} step:{steps}/{iterations(config)}"
    yield f"peak memory allocated: {peak_bytes // MIB} MiB"
    yield from snapshots.applied()


def sizes(raw_bytes: int, code_bytes: int, model_bytes: int, codec: str) -> Iterator[str]:
    """raw_bytes: of the weights before packing; codec: as `codec_of`."""
    yield f"Serialized model: {raw_bytes} bytes"
    yield f"Code size: {code_bytes} bytes"
    yield f"Total submission size: {raw_bytes + code_bytes} bytes"
    yield f"Serialized model {codec}+golf: {model_bytes} bytes"
    yield f"Total submission size {codec}+golf: {model_bytes + code_bytes} bytes"


def codec_of(matrices: str) -> str:
    """The codecs of the matrices as a word: `int6`, `int5_int6`."""
    return matrices.replace(" ", "_")


def results(
    codec: str, settings: Mapping[str, Any], nats: float, bpb: float, seconds: float
) -> Iterator[str]:
    """settings: of the score, as JSON has them."""
    key, how = f"final_{codec}_roundtrip", ""
    if settings["adaptation"]["kind"] != "none":
        key, how = f"final_{codec}_ttt_{settings['adaptation']['kind']}", f"stride:{settings['stride']} "
    elif settings["stride"] < settings["context"]:
        key, how = f"final_{codec}_sliding_window", f"stride:{settings['stride']} "
        yield f"final_eval_mode:sliding_window stride:{settings['stride']} context:{settings['context']}"
    yield f"{key} {how}val_loss:{nats:.4f} val_bpb:{bpb:.4f} eval_time:{1000 * seconds:.0f}ms"
    yield f"{key}_exact {how}val_loss:{nats:.8f} val_bpb:{bpb:.8f}"


def matrices(codecs: Mapping[str, str]) -> str:
    """The codec that a file is named after: that of its matrices, else of its embedding."""
    return codec_of(codecs.get("matrix") or next(iter(codecs.values())))


class LiveLog:
    """A hook of the training loop that says the lines of its steps."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.total, self.say, self.snapshots = iterations(config), say, Snapshots(config)
        self.last: StepRecord | None = None

    def on_step(self, record: StepRecord) -> None:
        self.last = record
        if wanted(record.step):
            self.say(step_line(record.step, self.total, record.loss, record.seconds))
        for line in self.snapshots.after(record.step, record.lr_multiplier):
            self.say(line)

    def close(self) -> None:
        if self.last is not None and not wanted(self.last.step):
            self.say(step_line(self.last.step, self.total, self.last.loss, self.last.seconds))
