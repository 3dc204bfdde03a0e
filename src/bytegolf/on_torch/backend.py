"""The torch backend: weights on a CPU, CUDA or MPS device, with training and inference."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.config.adaptation import FullWeights, LoraAdaptation
from bytegolf.config.schema import Model, Train
from bytegolf.errors import ConfigError
from bytegolf.model.backend import Adapter, DocumentAdapter, Floats, Ids, StepResult
from bytegolf.model.spec import manifest
from bytegolf.on_torch.averaging import Averager
from bytegolf.on_torch.device import choose_device, choose_precision
from bytegolf.on_torch.gpt import Gpt
from bytegolf.on_torch.optim.groups import Optimizers

MOST_LOGITS = 1 << 24  # rows are scored in pieces, so that logits take 64 MiB and not gigabytes


class TorchBackend:
    """A `model.backend.Backend`. Inference runs in float32; training in the precision of its config."""

    def __init__(self, model: Model, *, device: str = "auto") -> None:
        self.model = model
        self.torch_device = choose_device(device)
        self.device = self.torch_device.type
        self.precision = "fp32"
        self.notes: list[str] = []
        self.gpt = Gpt(model).to(self.torch_device)

    def load(self, weights: Mapping[str, Floats]) -> None:
        """Raises ConfigError when names or shapes are not those of the manifest."""
        wanted = {t.name: t.shape for t in manifest(self.model).tensors}
        got = {name: array.shape for name, array in weights.items()}
        if wanted != got:
            wrong = sorted(n for n in wanted.keys() | got.keys() if wanted.get(n) != got.get(n))
            raise ConfigError(
                "the weights are not those of this model", got=f"differing tensors: {wrong[:5]}"
            )
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
        return TorchTrainer(self, train)

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


class TorchTrainer:
    """A `model.backend.Trainer`: mixed precision, clipping, optimizers by role, optional running average."""

    def __init__(self, backend: TorchBackend, train: Train) -> None:
        self.backend = backend
        gpt = backend.gpt
        self.dtype, reason = choose_precision(train.precision, backend.torch_device)
        backend.precision = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self.dtype]
        backend.notes.append(f"training in {backend.precision}: {reason}")
        roles = manifest(backend.model).roles()
        self.optimizers = Optimizers(dict(gpt.named_parameters()), roles, train, self.dtype)
        self.clip = train.clip
        self.micro_rows = train.micro_rows
        self.average = Averager.of(gpt, train.averaging)
        self.nll: Any = gpt.nll
        if train.compile:
            require_compiler(backend.device)
            self.nll = torch.compile(gpt.nll)

    def step(self, batch: Ids, multiplier: float, step: int) -> StepResult:
        ids_BT = self.backend._put(batch)
        parts = torch.split(ids_BT, self.micro_rows or len(ids_BT))
        loss = sum(self._backward(part, len(part) / len(ids_BT)) for part in parts)
        parameters = self.backend.gpt.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip if self.clip > 0 else float("inf"))
        result = StepResult(float(loss), float(norm))
        if not np.isfinite(result.loss) or not np.isfinite(result.grad_norm):
            return result  # the caller stops; the weights stay those of the last good step
        self.optimizers.step(multiplier, step)
        self.average.after_step(multiplier, step)
        return result

    def _backward(self, ids_BT: torch.Tensor, share: float) -> torch.Tensor:
        """Add the gradient of a part of the batch; returns its share of the mean loss."""
        with torch.autocast(self.backend.device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            loss: torch.Tensor = self.nll(ids_BT[:, :-1], ids_BT[:, 1:], self.dtype).mean() * share
        torch.autograd.backward(loss)
        return loss.detach()

    def use_averaged(self) -> bool:
        return self.average.use()


def require_compiler(device: str) -> None:
    """torch.compile on the CPU builds C++. Raises ConfigError when no compiler is on the PATH."""
    if device == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise ConfigError(
            "torch.compile needs a C++ compiler on the PATH",
            where="train.compile",
            fix="install g++ or clang++, or leave train.compile=false",
        )
