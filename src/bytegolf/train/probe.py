"""How fast would training be here? A few real optimizer steps on random tokens, extrapolated to a whole step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bytegolf import registry
from bytegolf.config.schema import Config
from bytegolf.model.backend import Backend, Floats, Ids, Trainer
from bytegolf.model.spec import manifest
from bytegolf.train.fit import TRAIN_OVER_FORWARD

PROBE_SECONDS = 12.0
MOST_TOKENS = {
    "cuda": 1 << 16
}  # of one probed step; on a CPU a step of few thousand tokens is as fast per token
MOST_TOKENS_ELSEWHERE = 1 << 14
_TIMED = 3


@dataclass(frozen=True)
class Probe:
    """What was measured and what follows. seconds_per_step and tokens_per_second: of the configured whole step."""

    device: str
    precision: str
    measured: str
    seconds_per_step: float
    tokens_per_second: float
    probe_seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def probe(
    config: Config,
    device: str = "auto",
    library: str = "torch",
    limit: float = PROBE_SECONDS,
    announce: Callable[[str], None] = lambda line: None,
) -> Probe:
    """Time optimizer steps of `config` on this machine for about `limit` seconds, longer if one step takes longer.

    A step costs a + b rows: updating the weights, and what each row adds. One warm-up step of one row, one timed;
    where time is left, up to three steps of more rows give b, up to all of `train.rows`. Where none is, b is three
    times a forward pass of one row. The whole step is then a + b train.rows. `train.compile` is left out. Raises
    ConfigError for a device that is not there.
    """
    start = time.perf_counter()
    backend: Backend = registry.lookup("backend", library)(config.model, device=device)
    backend.load(_any_weights(config))
    trainer = backend.trainer(
        config.train.model_copy(update={"compile": False, "micro_rows": 0, "microbatch_tokens": 0})
    )
    announce(f"timing a few steps on {backend.device}, about {limit:.0f} s ...")
    begun = time.perf_counter()

    def left() -> float:
        return limit - (time.perf_counter() - begun)

    one = _step_seconds(trainer, _tokens(config, 1))
    if left() > one:
        one = _step_seconds(trainer, _tokens(config, 1))
    rows = _affordable_rows(config, backend.device, one, left())
    if rows > 1 or config.train.rows == 1:
        _step_seconds(trainer, _tokens(config, rows))
        timed = [_step_seconds(trainer, _tokens(config, rows))]
        while len(timed) < _TIMED and left() > timed[-1]:
            timed.append(_step_seconds(trainer, _tokens(config, rows)))
        many = float(np.median(timed))
        per_row = max((many - one) / (rows - 1), 0.2 * many / rows) if rows > 1 else 0.0
        whole = many + per_row * (config.train.rows - rows)
        measured = f"{len(timed)} steps of {rows} of {config.train.rows} rows"
    else:
        per_row = min(one, TRAIN_OVER_FORWARD * _forward_seconds(backend, _tokens(config, 1)))
        whole = one + per_row * (config.train.rows - 1)
        measured = f"a step of 1 of {config.train.rows} rows and a forward pass"
    tokens = config.train.rows * config.model.context
    spent = time.perf_counter() - start
    return Probe(backend.device, backend.precision, measured, whole, tokens / whole, spent)


def _affordable_rows(config: Config, device: str, one: float, left: float) -> int:
    """Rows of the larger probed step: two such steps fit into what is left, even if nothing is shared."""
    most = MOST_TOKENS.get(device, MOST_TOKENS_ELSEWHERE) // config.model.context
    at_once = config.train.rows_at_a_time(config.train.rows, config.model.context)
    return max(1, min(at_once, most, int(left / (2 * one))))


def _any_weights(config: Config) -> dict[str, Floats]:
    """Small normal weights: a step costs the same with them, and orthogonal ones take minutes to make."""
    stream = np.random.default_rng(config.train.seed)
    tensors = manifest(config.model).tensors
    return {t.name: stream.standard_normal(t.shape, np.float32) * np.float32(0.02) for t in tensors}


def _tokens(config: Config, rows: int) -> Ids:
    """Random ids (rows, T + 1): the cost of a step does not depend on what they say."""
    shape = (rows, config.model.context + 1)
    return np.random.default_rng(rows).integers(0, config.model.vocab_size, shape, dtype=np.int64)


def _step_seconds(trainer: Trainer, batch: Ids) -> float:
    start = time.perf_counter()
    trainer.step(batch, 0.01, 0)  # its loss comes back as a number, so the device has finished
    return time.perf_counter() - start


def _forward_seconds(backend: Backend, batch: Ids) -> float:
    start = time.perf_counter()
    backend.nll(batch[:, :-1], batch[:, 1:])
    return time.perf_counter() - start
