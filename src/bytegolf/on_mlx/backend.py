"""The MLX backend: weights on the GPU of a Mac, or on a CPU, with training and inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.config.schema import Model, Train
from bytegolf.errors import WorldError
from bytegolf.launch import Launch
from bytegolf.model.backend import Adapter, DocumentAdapter, Floats, Ids
from bytegolf.model.spec import check_weights, manifest
from bytegolf.model.world import ALONE, World
from bytegolf.on_mlx.device import choose_device, hardware
from bytegolf.on_mlx.gpt import Gpt
from bytegolf.on_mlx.trainer import MlxTrainer, put

MOST_LOGITS = 1 << 24  # rows are scored in pieces, so that logits take 64 MiB and not gigabytes


def join(launch: Launch, device: str, join_seconds: float) -> World:
    """The world of one process. Raises WorldError when there are more."""
    return alone(launch.size)


def alone(size: int) -> World:
    """Raises WorldError unless this is the only process."""
    if size != 1:
        raise WorldError(
            "the backend mlx trains and scores in one process",
            got=f"{size} of them",
            where="--backend",
            fix="start it without torchrun, or take --backend torch",
        )
    return ALONE


class MlxBackend:
    """A `model.backend.Backend`. Inference runs in float32; training in the precision of its config.

    MLX has one default device for the whole program, and the newest backend sets it.
    """

    library = "mlx"

    def __init__(self, model: Model, *, device: str = "auto", world: World = ALONE) -> None:
        self.model, self.world = model, alone(world.size)
        self.mlx_device = choose_device(device)
        mx.set_default_device(self.mlx_device)
        self.device = "cpu" if self.mlx_device.type == mx.cpu else "gpu"
        self.hardware = hardware(self.mlx_device)
        self.precision = "fp32"
        self.notes: list[str] = []
        self.gpt = Gpt(model)

    def load(self, weights: Mapping[str, Floats]) -> None:
        """Raises ConfigError when names or shapes are not those of the manifest."""
        check_weights(manifest(self.model), weights)
        self.gpt.take({n: mx.array(np.asarray(a, np.float32)) for n, a in weights.items()})

    def weights(self) -> dict[str, Floats]:
        held = self.gpt.named()
        return {t.name: np.array(held[t.name]) for t in manifest(self.model).tensors}

    def nll(self, ids: Ids, targets: Ids, last: int | None = None) -> Floats:
        return self._in_pieces(
            len(ids),
            last or ids.shape[1],
            lambda rows: self.gpt.nll(put(ids[rows]), put(targets[rows]), last=last),
        )

    def log_probabilities(self, ids: Ids, last: int | None = None) -> Floats:
        def run(rows: slice) -> mx.array:
            logits = self.gpt(put(ids[rows]), last=last)
            return logits - mx.logsumexp(logits, axis=-1, keepdims=True)

        return self._in_pieces(len(ids), last or ids.shape[1], run)

    def _in_pieces(self, rows: int, scored: int, run: Callable[[slice], mx.array]) -> Floats:
        at_once = max(1, MOST_LOGITS // (scored * self.model.vocab_size))
        parts = [np.array(run(slice(i, i + at_once))) for i in range(0, rows, at_once)]
        result: NDArray[np.float32] = np.concatenate(parts)
        return result

    def next_logits(self, ids: Ids) -> Floats:
        result: NDArray[np.float32] = np.array(self.gpt(put(ids[None]), last=1)[0, -1])
        return result

    def trainer(self, train: Train) -> MlxTrainer:
        return MlxTrainer(self, train)

    def peak_flops(self) -> float | None:
        """None: no maker of these devices states it."""
        return None

    def adapter(self, adaptation: FullWeights) -> Adapter:
        made: Adapter = registry.lookup("adaptation", adaptation.kind, "mlx")(self, adaptation)
        return made

    def document_adapter(self, adaptation: LoraAdaptation, context: int) -> DocumentAdapter:
        made: DocumentAdapter = registry.lookup("adaptation", adaptation.kind, "mlx")(
            self, adaptation, context
        )
        return made
