"""MLX twin of model.components.gqa."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.on_mlx.attention.heads import Heads
from bytegolf.on_mlx.linear import linear


class Gqa(Heads):
    q: mx.array
    k: mx.array
    v: mx.array

    def __call__(self, x_BTD: mx.array, last: int, start: int) -> mx.array:
        """What the last n = `last` tokens get, (B, n, D)."""
        q_BnD = linear(x_BTD[:, -last:], self.q)
        return self.attend(q_BnD, linear(x_BTD, self.k), linear(x_BTD, self.v), start)
