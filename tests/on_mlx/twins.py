"""What the tests of the MLX backend share: the same model with the same weights on both backends.

Importing this skips the importing file, with the reason, where mlx is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("mlx.core", reason='mlx is not installed: pip install "bytegolf[mlx]"')

from bytegolf.config.load import load_config, with_overrides
from bytegolf.config.schema import Config, Model
from bytegolf.model.init import initial_weights
from bytegolf.model.shrink import shrunk
from bytegolf.model.spec import manifest
from bytegolf.on_mlx.backend import MlxBackend
from bytegolf.on_torch.backend import TorchBackend
from model_samples import generic_weights

Pair = tuple[TorchBackend, MlxBackend]
VOCAB = 40


def twins(model: Model, weights: Mapping[str, np.ndarray]) -> Pair:
    """Both backends with these weights."""
    pair = TorchBackend(model, device="cpu"), MlxBackend(model, device="cpu")
    for backend in pair:
        backend.load({name: np.asarray(array, np.float32) for name, array in weights.items()})
    return pair


def generic_twins(model: Model, seed: int = 0, scale: float = 0.4) -> Pair:
    return twins(model, {name: scale * array for name, array in generic_weights(model, seed).items()})


def fresh(config: Config) -> Pair:
    """Both backends with the initial weights."""
    return twins(config.model, initial_weights(manifest(config.model), 0))


def toy(name: str, *overrides: str) -> Config:
    """A preset by --shrink, and then as small as MLX on a CPU likes it: two layers, rows of 16 tokens."""
    small = ("model.layers=2", "model.context=16", f"model.vocab_size={VOCAB}", "train.rows=2")
    rest = ("score={context=16, stride=8}", "train.precision=fp32", "train.compile=false")
    return with_overrides(shrunk(load_config(name)), [*small, *rest, *overrides])


def batches(config: Config, count: int, rows: int = 2) -> list[np.ndarray]:
    """(rows, T + 1) ids of a text that can be learnt: every token is likely to follow the same one."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.model.vocab_size, (count, rows, config.model.context + 1))
    ids[..., 1::2] = (ids[..., :-1:2] + 1) % config.model.vocab_size
    return list(ids)
