"""Test-time training of a low-rank change for each document, which starts from nothing (LoRA, Hu et al. 2021).

Shapes: N documents, B rows, T positions, r rank, i inputs and o outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.errors import ConfigError
from bytegolf.model.adapted import changed_matrices
from bytegolf.model.backend import Floats, Ids
from bytegolf.model.learning import GradedWindows, first_factors
from bytegolf.model.scored import Scored
from bytegolf.on_torch import backend as torch_backend
from bytegolf.on_torch.backend import TorchBackend


class Changed(TorchFunctionMode):
    """Within `with`, F.linear(x, W) is x W^T + (x A^T) B^T for each W with a change, row by row of x (B, T, i).

    changes: (W, A (B, r, i), B (B, o, r)). The modules know nothing of it, and pay nothing when there is none.
    A change that no product used would be a score without it, so leaving the block checks that all were used.
    """

    def __init__(self, changes: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self._changes = {id(weight): (a_Bri, b_Bor) for weight, a_Bri, b_Bor in changes}
        self._unused = set(self._changes)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is not F.linear or id(args[1]) not in self._changes:
            return out
        a_Bri, b_Bor = self._changes[id(args[1])]
        self._unused.discard(id(args[1]))
        return out + args[0] @ a_Bri.mT @ b_Bor.mT

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        assert error[0] is not None or not self._unused, (
            "a matrix with a change took no part in the forward pass"
        )


class Factors:
    """A (N, r, i) and B (N, o, r) of one matrix for N documents, with Adam's two moments of each.

    Adam: Kingma & Ba 2015, without weight decay, each document with its own count of steps.
    """

    def __init__(self, weight: torch.Tensor, first_ri: torch.Tensor, documents: int) -> None:
        a = first_ri.to(weight).expand(documents, -1, -1).clone()
        b = torch.zeros(documents, weight.shape[0], len(first_ri), dtype=weight.dtype, device=weight.device)
        self.weight, self.values = weight, (a, b)
        self._means = tuple(torch.zeros_like(value) for value in self.values)
        self._squares = tuple(torch.zeros_like(value) for value in self.values)

    def of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.values
        return a[rows], b[rows]

    def step(
        self,
        rows: torch.Tensor,
        gradients: Sequence[torch.Tensor],
        counts: torch.Tensor,
        kind: LoraAdaptation,
    ) -> None:
        """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - lr m' / (sqrt(v') + eps) in some documents.

        m', v': divided by 1 - b^t, t = counts (rows,) the steps that a document has then made.
        """
        (beta1, beta2), t = kind.betas, counts[:, None, None].to(self.weight.dtype)
        for value, mean, square, g in zip(self.values, self._means, self._squares, gradients, strict=True):
            m = mean[rows] = beta1 * mean[rows] + (1 - beta1) * g
            v = square[rows] = beta2 * square[rows] + (1 - beta2) * g.square()
            value[rows] -= kind.lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + kind.eps)


class LowRank:
    """A `model.backend.DocumentAdapter`: W + B A for each document and each matrix of `parts`; W stays.

    A starts at U(-1/sqrt(i), 1/sqrt(i)), the same in every document, B at zero; no scale. After a chunk, `steps`
    Adam steps on its mean loss, read with up to `context` tokens that end with it. Rows never mix: a document gets
    the gradient of its own loss alone. A forward pass costs 2 r (i + o) operations per token and matrix more.

    Raises ConfigError for unknown parts and for a chunk that does not fit into the context.
    """

    def __init__(self, backend: TorchBackend, adaptation: LoraAdaptation, context: int) -> None:
        if adaptation.chunk > context:
            raise ConfigError(
                f"a chunk must fit into the context of {context} tokens",
                got=adaptation.chunk,
                where="score.adaptation.chunk",
            )
        self.backend, self.adaptation, self.context = backend, adaptation, context
        self._names = changed_matrices(backend.model, adaptation.parts)
        self.begin(0)

    @torch.no_grad()
    def begin(self, documents: int) -> None:
        weights = dict(self.backend.gpt.named_parameters())
        self._weights = [weights[name] for name in self._names]
        firsts = first_factors([(w.shape[0], w.shape[1]) for w in self._weights], self.adaptation.rank)
        self._factors = [
            Factors(weight.detach(), torch.from_numpy(first), documents)
            for weight, first in zip(self._weights, firsts, strict=True)
        ]
        self._counts = torch.zeros(documents, dtype=torch.int64, device=self.backend.torch_device)
        self._graded = GradedWindows(self.context)

    def nll(self, ids: Ids, targets: Ids, documents: Sequence[int], last: int | None = None) -> Floats:
        parts = []
        for piece, rows in self._pieces(documents, last or ids.shape[1]):
            with self._changed(rows):
                parts.append(self.backend.nll(ids[piece], targets[piece], last))
        return np.concatenate(parts)

    def log_probabilities(self, ids: Ids, documents: Sequence[int], last: int | None = None) -> Floats:
        parts = []
        for piece, rows in self._pieces(documents, last or ids.shape[1]):
            with self._changed(rows):
                parts.append(self.backend.log_probabilities(ids[piece], last))
        return np.concatenate(parts)

    def adapt(self, scored: Mapping[int, Scored]) -> None:
        """Raises TypeError for what is not graded and ScoringError for a chunk out of order, before any step."""
        for documents, window, last in self._graded.take(scored):
            for piece, rows in self._pieces(documents, window.shape[1] - 1):
                for _ in range(self.adaptation.steps):
                    self._step(window[piece], rows, last)

    def _step(self, window: Ids, rows: torch.Tensor, last: int) -> None:
        """One step of some documents on the last targets of their windows (rows, T + 1)."""
        tokens_BT = self.backend._put(window)
        used = [tuple(value.requires_grad_() for value in factors.of(rows)) for factors in self._factors]
        with Changed((w, a, b) for w, (a, b) in zip(self._weights, used, strict=True)):
            nll_Bn = self.backend.gpt.nll(tokens_BT[:, :-1], tokens_BT[:, 1:], last=last)
        loss = nll_Bn.mean(dim=1).sum()
        gradients = torch.autograd.grad(loss, [value for pair in used for value in pair])
        self._counts[rows] += 1
        for i, factors in enumerate(self._factors):
            factors.step(rows, gradients[2 * i : 2 * i + 2], self._counts[rows], self.adaptation)

    def _changed(self, rows: torch.Tensor) -> Changed:
        return Changed(
            (w, *factors.of(rows)) for w, factors in zip(self._weights, self._factors, strict=True)
        )

    def _pieces(self, documents: Sequence[int], length: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows whose `length` logits each fit into memory together: where they stand, which documents they are.

        The backend cuts a batch the same way, so that a piece reaches the modules whole.
        """
        at_once = max(1, torch_backend.MOST_LOGITS // (length * self.backend.model.vocab_size))
        for first in range(0, len(documents), at_once):
            piece = slice(first, min(first + at_once, len(documents)))
            yield piece, torch.tensor(documents[piece], device=self.backend.torch_device)
