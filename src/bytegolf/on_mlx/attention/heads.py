"""MLX twin of model.components.heads: normed, rotated heads, and causal attention over all or a window of them.

Shapes: B rows, T positions, H query heads, K key-value heads, d head size, N blocks of a window.
"""

from __future__ import annotations

import mlx.core as mx

from bytegolf.config.schema import Model
from bytegolf.model.components.heads import Heads as Spec
from bytegolf.on_mlx.declared import Declared, rms_norm, shifted
from bytegolf.on_mlx.linear import linear
from bytegolf.on_mlx.rope import Rope


class Heads(Declared):
    proj: mx.array
    q_gain: mx.array

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.heads, self.kv_heads, self.window = spec.heads, spec.kv_heads, spec.window
        self.rope = Rope(spec.rotated(model), spec.rope_base, model.context)

    def attend(self, q_BnD: mx.array, k_BTd: mx.array, v_BTd: mx.array, start: int) -> mx.array:
        """Projected queries of the last n of T tokens, keys and values of all -> (B, n, D).

        `start` is the position of the first of the T tokens in its row.
        """
        length, queries = k_BTd.shape[1], q_BnD.shape[1]
        q_BHnd = self.rope(rms_norm(_split(q_BnD, self.heads)), start + length - queries)
        k_BKTd = self.rope(rms_norm(_split(k_BTd, self.kv_heads)), start)
        v_BKTd = _split(v_BTd, self.kv_heads)
        q_BHnd = q_BHnd * self.q_gain.astype(q_BHnd.dtype)[:, None, None]
        if 0 < self.window < length and (queries == length or queries > 2 * self.window):
            # In blocks, from the first token on: for few queries a mask of all of them and all keys costs less.
            whole_BHTd = mx.pad(q_BHnd, [(0, 0), (0, 0), (length - queries, 0), (0, 0)])
            out_BHnd = windowed_attention(whole_BHTd, k_BKTd, v_BKTd, self.window)[:, :, -queries:]
        else:
            mask = "causal" if queries == length else tail_mask(queries, length, self.window)
            out_BHnd = _attention(q_BHnd, k_BKTd, v_BKTd, mask)
        return linear(out_BHnd.swapaxes(1, 2).flatten(2), self.proj)


def _attention(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | str) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)


def tail_mask(queries: int, length: int, window: int) -> mx.array:
    """(n, T) booleans: may each of the last n tokens see each of the T? A window w is itself and w - 1 before."""
    place = mx.arange(length)
    distance = place[length - queries :, None] - place[None, :]
    return (distance >= 0) & (distance < (window or length))


def _split(x_BTd: mx.array, heads: int) -> mx.array:
    return x_BTd.reshape(*x_BTd.shape[:-1], heads, -1).swapaxes(1, 2)


def windowed_attention(q_BHTd: mx.array, k_BKTd: mx.array, v_BKTd: mx.array, window: int) -> mx.array:
    """Attention (B, H, T, d) of each token to itself and the window - 1 tokens before it.

    The row is cut into N blocks of `window` tokens; a block sees itself and the block before it, masked to the
    window. Cost: 2 T window score products instead of T^2 / 2.
    """
    batch, heads, length, size = q_BHTd.shape
    padding = -length % window
    blocks = (length + padding) // window

    def cut(x: mx.array) -> mx.array:  # (B, K, T, d) -> (B, N, K, window, d)
        padded = mx.pad(x, [(0, 0), (0, 0), (0, padding), (0, 0)])
        return padded.reshape(batch, -1, blocks, window, size).swapaxes(1, 2)

    def with_previous(x: mx.array) -> mx.array:  # (B, N, K, window, d) -> (B, N, K, 2 window, d)
        return mx.concatenate([shifted(x), x], axis=3)

    q = cut(q_BHTd).flatten(0, 1)
    k, v = (with_previous(cut(x)).flatten(0, 1) for x in (k_BKTd, v_BKTd))
    mask = mx.tile(_window_mask(window, blocks), (batch, 1, 1))[:, None]
    out = _attention(q, k, v, mask).reshape(batch, blocks, heads, window, size).swapaxes(1, 2)
    return out.reshape(batch, heads, blocks * window, size)[:, :, :length]


def _window_mask(window: int, blocks: int) -> mx.array:
    """(N, window, 2 window) booleans: may the query see the key? Keys before the row's start are padding."""
    place = mx.arange(2 * window)
    distance = place[window:, None] - place[None, :]
    seen = (distance >= 0) & (distance < window)
    there = (mx.arange(blocks)[:, None, None] > 0) | (place >= window)
    return seen & there
