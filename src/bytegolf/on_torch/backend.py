"""The torch backend: weights on a CPU, CUDA or MPS device, with training and inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.config.schema import Model, Train
from bytegolf.model.backend import Adapter, DocumentAdapter, Floats, Ids
from bytegolf.model.spec import check_weights, manifest
from bytegolf.model.world import ALONE, World
from bytegolf.on_torch.device import choose_device, hardware, peak_flops
from bytegolf.on_torch.dist import TorchWorld
from bytegolf.on_torch.gpt import Gpt
from bytegolf.on_torch.trainer import TorchTrainer

MOST_LOGITS = 1 << 24  # rows are scored in pieces, so that logits take 64 MiB and not gigabytes


class TorchBackend:
    """A `model.backend.Backend`. Inference runs in float32; training in the precision of its config."""

    library = "torch"

    def __init__(self, model: Model, *, device: str = "auto", world: World = ALONE) -> None:
        self.model, self.world = model, world
        self.torch_device = world.place if isinstance(world, TorchWorld) else choose_device(device)
        self.device = self.torch_device.type
        self.hardware = hardware(self.torch_device, world.size)
        self.precision = "fp32"
        self.notes: list[str] = []
        self.gpt = Gpt(model).to(self.torch_device)

    def load(self, weights: Mapping[str, Floats]) -> None:
        """Raises ConfigError when names or shapes are not those of the manifest."""
        check_weights(manifest(self.model), weights)
        self.gpt.load_state_dict({n: torch.tensor(np.asarray(a, np.float32)) for n, a in weights.items()})

    def weights(self) -> dict[str, Floats]:
        return {n: p.detach().cpu().float().numpy().copy() for n, p in self.gpt.state_dict().items()}

    @torch.inference_mode()
    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        return self._in_pieces(
            len(ids),
            last or ids.shape[1],
            lambda rows: self.gpt.nll(self._put(ids[rows]), self._put(targets[rows]), last=last),
        )

    @torch.inference_mode()
    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        return self._in_pieces(
            len(ids),
            last or ids.shape[1],
            lambda rows: self.gpt(self._put(ids[rows]), last=last).log_softmax(-1),
        )

    def _in_pieces(self, rows: int, scored: int, run: Callable[[slice], torch.Tensor]) -> Floats:
        at_once = max(1, MOST_LOGITS // (scored * self.model.vocab_size))
        parts = [run(slice(i, i + at_once)).cpu().numpy() for i in range(0, rows, at_once)]
        result: NDArray[np.float32] = np.concatenate(parts)
        return result

    @torch.inference_mode()
    def next_logits(self, ids: Ids) -> Floats:
        result: NDArray[np.float32] = self.gpt(self._put(ids[None]), last=1)[0, -1].cpu().numpy()
        return result

    def trainer(self, train: Train) -> TorchTrainer:
        return TorchTrainer(self, train, self.world)

    def peak_flops(self) -> float | None:
        return peak_flops(self.torch_device, self.precision)

    def adapter(self, adaptation: FullWeights) -> Adapter:
        made: Adapter = registry.lookup("adaptation", adaptation.kind, "torch")(self, adaptation)
        return made

    def document_adapter(self, adaptation: LoraAdaptation, context: int) -> DocumentAdapter:
        made: DocumentAdapter = registry.lookup("adaptation", adaptation.kind, "torch")(
            self, adaptation, context
        )
        return made

    def _put(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(ids).to(self.torch_device)
