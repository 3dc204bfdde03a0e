"""MLX twin of model.components.mla."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.on_mlx.attention.heads import Heads
from bytegolf.on_mlx.linear import linear


class Mla(Heads):
    q: mx.array
    kv_down: mx.array
    k_up: mx.array
    v_up: mx.array

    def __call__(self, x_BTD: mx.array, last: int, start: int) -> mx.array:
        """What the last n = `last` tokens get, (B, n, D)."""
        q_BnD = linear(x_BTD[:, -last:], self.q)
        latent_BTr = linear(x_BTD, self.kv_down)
        return self.attend(q_BnD, linear(latent_BTr, self.k_up), linear(latent_BTr, self.v_up), start)
