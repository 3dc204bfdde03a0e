"""Scoring with `pocket`: tokens scored a second at strides of the context, a half and a quarter of it."""

from __future__ import annotations

import numpy as np

from bytegolf.config.load import load_config
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.score.bpb import target_nats
from common import seconds, show

TARGETS = 40_000


def main() -> None:
    config = load_config("pocket")
    model = config.model
    backend = TorchBackend(model, device="cpu")
    backend.load(initial_weights(manifest(model), 0))
    tokens = np.random.default_rng(0).integers(1, model.vocab_size, TARGETS + 1).astype(np.uint16)
    context = config.score.context or model.context
    rows = []
    for stride in (context, context // 2, context // 4):
        spent = seconds(lambda s=stride: target_nats(backend, tokens, context, s), 2)  # type: ignore[misc]
        forwards = TARGETS * context / stride / spent
        rows.append([f"{stride}", f"{TARGETS / spent:,.0f}", f"{forwards:,.0f}"])
    headers = ["stride", "targets/s", "token forwards/s"]
    show(f"pocket, context {context}, {TARGETS:,} targets", headers, rows)


if __name__ == "__main__":
    main()
