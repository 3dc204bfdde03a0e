"""One training step of `pocket`: forward, backward, optimizer; our Muon against torch's in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from bytegolf.config.load import load_config
from bytegolf.config.schema import Muon
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.optim.muon import Muon as BatchedMuon
from common import seconds, show

STEPS = 20


def main() -> None:
    config = load_config("pocket")
    model, train = config.model, config.train
    backend = TorchBackend(model, device="cpu")
    backend.load(initial_weights(manifest(model), train.seed))
    trainer = backend.trainer(train)
    stream = np.random.default_rng(0)
    batch = stream.integers(1, model.vocab_size, (train.rows, model.context + 1))

    whole = seconds(lambda: trainer.step(batch, 0.1, 0), STEPS)
    ids = torch.from_numpy(batch)
    parts = {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    for _ in range(STEPS):
        marks = [time.perf_counter()]
        with torch.autocast("cpu", torch.bfloat16, enabled=trainer.dtype == torch.bfloat16):
            loss = backend.gpt.nll(ids[:, :-1], ids[:, 1:], trainer.dtype).mean()
        marks.append(time.perf_counter())
        loss.backward()  # type: ignore[no-untyped-call]
        marks.append(time.perf_counter())
        trainer.optimizers.step(0.1, 0)
        marks.append(time.perf_counter())
        for i, part in enumerate(parts):
            parts[part] += (marks[i + 1] - marks[i]) / STEPS

    tokens = train.rows * model.context
    rows = [["whole step", f"{1e3 * whole:.1f}", f"{tokens / whole:,.0f} tokens/s"]]
    rows += [[f"  {part}", f"{1e3 * spent:.1f}", ""] for part, spent in parts.items()]
    ours = muon_seconds(backend, partial(BatchedMuon, ns_dtype=trainer.dtype))
    torchs = muon_seconds(backend, torch.optim.Muon)
    rows.append(["Muon of bytegolf", f"{1e3 * ours:.1f}", f"{torchs / ours:.2f} times torch's speed"])
    rows.append(["Muon of torch", f"{1e3 * torchs:.1f}", ""])
    show(f"pocket, {train.rows} x {model.context} tokens, {backend.precision}", ["", "ms", ""], rows)


def muon_seconds(backend: TorchBackend, optimizer: Callable[..., torch.optim.Optimizer]) -> float:
    """One update of the matrices that `pocket` gives to Muon, with gradients of ones."""
    optimizers = load_config("pocket").train.optimizers
    roles = manifest(backend.model).roles()
    weights = [
        torch.nn.Parameter(p.detach().clone())
        for name, p in backend.gpt.named_parameters()
        if isinstance(optimizers.get(roles[name]), Muon)
    ]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    return seconds(optimizer(weights, lr=0.02, weight_decay=0.0, momentum=0.95).step, STEPS)


if __name__ == "__main__":
    main()
