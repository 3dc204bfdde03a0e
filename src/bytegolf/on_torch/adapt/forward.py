"""Forward passes whose scored positions are the last ones of each row."""

from __future__ import annotations

import torch

from bytegolf.model.backend import Floats, Ids
from bytegolf.on_torch.backend import TorchBackend


def nll(backend: TorchBackend, ids: Ids, targets: Ids, last: int | None) -> Floats:
    """As model.backend.Backend.nll."""
    return backend.nll(ids, targets)[:, -(last or ids.shape[1]) :]


@torch.inference_mode()
def log_probabilities(backend: TorchBackend, ids: Ids, last: int | None) -> Floats:
    """As model.backend.Backend.log_probabilities."""
    logits_BTV = backend.gpt(torch.from_numpy(ids).to(backend.torch_device))
    result: Floats = logits_BTV[:, -(last or ids.shape[1]) :].log_softmax(dim=-1).cpu().numpy()
    return result
