"""Test-time training of a low-rank change for each document, which starts from nothing (LoRA, Hu et al. 2021).

Shapes: N documents, B rows, T positions, r rank, i inputs and o outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import mlx.core as mx
import numpy as np

from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.errors import ConfigError
from bytegolf.model.adapted import changed_matrices
from bytegolf.model.backend import Floats, Ids
from bytegolf.model.learning import GradedWindows, first_factors
from bytegolf.model.scored import Scored
from bytegolf.on_mlx import backend as mlx_backend
from bytegolf.on_mlx.backend import MlxBackend
from bytegolf.on_mlx.linear import Changed
from bytegolf.on_mlx.trainer import put

Pair = tuple[mx.array, mx.array]  # A (.., r, i) and B (.., o, r)


class Factors:
    """A (N, r, i) and B (N, o, r) of one matrix for N documents, with Adam's two moments of each.

    Adam: Kingma & Ba 2015, without weight decay, each document with its own count of steps.
    """

    def __init__(self, weight: mx.array, first_ri: mx.array, documents: int) -> None:
        rank, inputs = first_ri.shape
        a = mx.broadcast_to(first_ri, (documents, rank, inputs))
        self.values: Pair = (a, mx.zeros((documents, weight.shape[0], rank)))
        self._means: Pair = (mx.zeros_like(a), mx.zeros_like(self.values[1]))
        self._squares: Pair = (mx.zeros_like(a), mx.zeros_like(self.values[1]))

    def of(self, rows: mx.array) -> Pair:
        a, b = self.values
        return a[rows], b[rows]

    def step(self, rows: mx.array, gradients: Pair, counts: mx.array, kind: LoraAdaptation) -> None:
        """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - lr m' / (sqrt(v') + eps) in some documents.

        m', v': divided by 1 - b^t, t = counts (rows,) the steps that a document has then made.
        """
        (beta1, beta2), t = kind.betas, counts[:, None, None]
        for value, mean, square, g in zip(self.values, self._means, self._squares, gradients, strict=True):
            m = mean[rows] = beta1 * mean[rows] + (1 - beta1) * g
            v = square[rows] = beta2 * square[rows] + (1 - beta2) * mx.square(g)
            change = (m / (1 - beta1**t)) / (mx.sqrt(v / (1 - beta2**t)) + kind.eps)
            value[rows] = value[rows] - kind.lr * change

    def arrays(self) -> list[Pair]:
        return [self.values, self._means, self._squares]


class LowRank:
    """A `model.backend.DocumentAdapter`: W + B A for each document and each matrix of `parts`; W stays.

    A starts at U(-1/sqrt(i), 1/sqrt(i)), the same in every document, B at zero; no scale. After a chunk, `steps`
    Adam steps on its mean loss, read with up to `context` tokens that end with it. Rows never mix: a document gets
    the gradient of its own loss alone. A forward pass costs 2 r (i + o) operations per token and matrix more.

    Raises ConfigError for unknown parts and for a chunk that does not fit into the context.
    """

    def __init__(self, backend: MlxBackend, adaptation: LoraAdaptation, context: int) -> None:
        if adaptation.chunk > context:
            raise ConfigError(
                f"a chunk must fit into the context of {context} tokens",
                got=adaptation.chunk,
                where="score.adaptation.chunk",
            )
        self.backend, self.adaptation, self.context = backend, adaptation, context
        self._names = changed_matrices(backend.model, adaptation.parts)
        self.begin(0)

    def begin(self, documents: int) -> None:
        weights = self.backend.gpt.named()
        self._weights = [weights[name] for name in self._names]
        firsts = first_factors([(w.shape[0], w.shape[1]) for w in self._weights], self.adaptation.rank)
        self._factors = [
            Factors(weight, mx.array(first.astype(np.float32)), documents)
            for weight, first in zip(self._weights, firsts, strict=True)
        ]
        self._counts = np.zeros(documents, np.int64)
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

    def _step(self, window: Ids, rows: list[int], last: int) -> None:
        """One step of some documents on the last targets of their windows (rows, T + 1)."""
        tokens_BT, places = put(window), mx.array(rows)

        def loss(used: list[Pair]) -> mx.array:
            with Changed((w, a, b) for w, (a, b) in zip(self._weights, used, strict=True)):
                nll_Bn = self.backend.gpt.nll(tokens_BT[:, :-1], tokens_BT[:, 1:], last=last)
            return nll_Bn.mean(axis=1).sum()

        gradients = mx.grad(loss)([factors.of(places) for factors in self._factors])
        self._counts[rows] += 1
        counts = mx.array(self._counts[rows].astype(np.float32))
        for factors, pair in zip(self._factors, gradients, strict=True):
            factors.step(places, pair, counts, self.adaptation)
        mx.eval([factors.arrays() for factors in self._factors])

    def _changed(self, rows: list[int]) -> Changed:
        places = mx.array(rows)
        return Changed(
            (w, *factors.of(places)) for w, factors in zip(self._weights, self._factors, strict=True)
        )

    def _pieces(self, documents: Sequence[int], length: int) -> Iterator[tuple[slice, list[int]]]:
        """Rows whose `length` logits each fit into memory together: where they stand, which documents they are.

        The backend cuts a batch the same way, so that a piece reaches the modules whole.
        """
        at_once = max(1, mlx_backend.MOST_LOGITS // (length * self.backend.model.vocab_size))
        for first in range(0, len(documents), at_once):
            piece = slice(first, min(first + at_once, len(documents)))
            yield piece, list(documents[piece])
