"""Torch twin of model.components.ngram_recall."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.ngram_recall import NgramRecall as Spec
from bytegolf.on_torch.declared import Declared, rms_norm


class NgramRecall(Declared):
    gate: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.orders = spec.orders
        self.bos_id = model.bos_id if spec.stop_at_bos else None

    def forward(self, x_BTD: torch.Tensor, ids_BT: torch.Tensor, embedding_VD: torch.Tensor) -> torch.Tensor:
        tokens_BT = ids_BT
        if self.bos_id is not None:  # tokens of different documents are different tokens
            document_BT = (ids_BT == self.bos_id).cumsum(dim=1)
            tokens_BT = ids_BT + document_BT * embedding_VD.shape[0]
        for order, earlier_BT in latest_copies(tokens_BT, self.orders[-1]):
            if order not in self.orders:
                continue
            follower_BT = ids_BT.gather(1, (earlier_BT + 1).clamp(min=0))
            recalled_BTD = rms_norm(F.embedding(follower_BT, embedding_VD).to(x_BTD.dtype))
            gate = self.gate[self.orders.index(order)].to(x_BTD.dtype)
            x_BTD = x_BTD + gate * recalled_BTD * (earlier_BT >= 0).unsqueeze(-1)
        return x_BTD


def latest_copies(tokens_BT: torch.Tensor, longest: int) -> Iterator[tuple[int, torch.Tensor]]:
    """For n = 1..longest: (n, position of the latest earlier copy of the n-gram ending at each t, or -1).

    An n-gram is its class: equal n-grams of a row have equal classes, numbered by sorting the pairs (class of
    the (n-1)-gram before, token). Exact, no hashing. Cost: one stable sort of each row per n.
    """
    length = tokens_BT.shape[1]
    _, first_BT = torch.unique(tokens_BT, return_inverse=True)
    class_BT = first_BT
    for n in range(1, longest + 1):
        if n > 1:
            class_BT = F.pad(class_BT, (1, -1)) * (tokens_BT.numel() + 1) + first_BT
            class_BT[:, : n - 1] = -1 - torch.arange(n - 1, device=class_BT.device)[:length]
        sorted_BT, where_BT = class_BT.sort(dim=1, stable=True)
        new_BT = F.pad(sorted_BT[:, 1:] != sorted_BT[:, :-1], (1, 0), value=True)
        before_BT = F.pad(where_BT, (1, -1)).masked_fill(new_BT, -1)
        yield n, torch.empty_like(where_BT).scatter_(1, where_BT, before_BT)
        class_BT = torch.empty_like(where_BT).scatter_(1, where_BT, new_BT.cumsum(dim=1))
