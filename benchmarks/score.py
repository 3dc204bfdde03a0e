"""Scoring: targets a second at strides of the context, and what computing only the scored positions saves."""

from __future__ import annotations

import numpy as np

from bytegolf.config.load import load_config
from bytegolf.config.schema import Model
from bytegolf.model.backend import Floats, Ids
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.passes import target_nats
from common import seconds, show

TARGETS = 40_000
# Sliding as the challenge does it. The second model has full attention in nine layers: little to leave out there.
CONTEXT, STRIDE = 1024, 64
SLIDING = {"pocket": 8_000, "pr102-int6-smear": 2_048}


class Whole:
    """A backend that computes every position of every window, the plain way."""

    def __init__(self, backend: TorchBackend) -> None:
        self.backend = backend

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        return self.backend.nll(ids, targets)[:, -(last or ids.shape[1]) :]

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        return self.backend.log_probabilities(ids)[:, -(last or ids.shape[1]) :]


def random_backend(model: Model) -> TorchBackend:
    backend = TorchBackend(model, device="cpu")
    weights = initial_weights(manifest(model), 0)
    backend.load({name: array + np.float32(0.01) for name, array in weights.items()})
    return backend


def random_tokens(model: Model, targets: int) -> Ids:
    return np.random.default_rng(0).integers(1, model.vocab_size, targets + 1)


def strides() -> None:
    config = load_config("pocket")
    backend, tokens = random_backend(config.model), random_tokens(config.model, TARGETS)
    context = config.score.context or config.model.context
    rows = []
    for stride in (context, context // 2, context // 4):
        spent = seconds(lambda s=stride: target_nats(backend, tokens, context, s), 2)  # type: ignore[misc]
        rows.append([f"{stride}", f"{TARGETS / spent:,.0f}", f"{TARGETS * context / stride / spent:,.0f}"])
    headers = ["stride", "targets/s", "token forwards/s"]
    show(f"pocket, context {context}, {TARGETS:,} targets", headers, rows)


def sliding() -> None:
    rows = []
    for name, targets in SLIDING.items():
        model = load_config(name).model
        backend, tokens = random_backend(model), random_tokens(model, targets)
        nats = target_nats(backend, tokens, CONTEXT, STRIDE)
        difference = np.abs(nats - target_nats(Whole(backend), tokens, CONTEXT, STRIDE)).max()
        fast = seconds(lambda b=backend, t=tokens: target_nats(b, t, CONTEXT, STRIDE), 1)  # type: ignore[misc]
        whole = seconds(lambda b=backend, t=tokens: target_nats(Whole(b), t, CONTEXT, STRIDE), 1)  # type: ignore[misc]
        ratio = f"{whole / fast:.2f}x"
        rows.append([name, f"{targets:,}", f"{whole:.2f}", f"{fast:.2f}", ratio, f"{difference:.1e}"])
    headers = [
        "model",
        "targets",
        "whole windows, s",
        "scored positions, s",
        "faster",
        "largest difference, nats",
    ]
    show(f"sliding window, context {CONTEXT}, stride {STRIDE}, float32", headers, rows)


if __name__ == "__main__":
    strides()
    sliding()
