"""Torch twin of model.components.heads: normed, rotated heads, and causal attention over all or a window of them.

Shapes: B rows, T positions, H query heads, K key-value heads, d head size, N blocks of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bytegolf.config.schema import Model
from bytegolf.model.components.heads import Heads as Spec
from bytegolf.on_torch.declared import Declared, rms_norm
from bytegolf.on_torch.rope import Rope


class Heads(Declared):
    proj: torch.Tensor
    q_gain: torch.Tensor

    def __init__(self, spec: Spec, model: Model) -> None:
        super().__init__(spec.tensors(model))
        self.heads, self.kv_heads, self.window = spec.heads, spec.kv_heads, spec.window
        self.rope = Rope(spec.rotated(model), spec.rope_base, model.context)

    def attend(
        self, q_BnD: torch.Tensor, k_BTd: torch.Tensor, v_BTd: torch.Tensor, start: int
    ) -> torch.Tensor:
        """Projected queries of the last n of T tokens, keys and values of all -> (B, n, D).

        `start` is the position of the first of the T tokens in its row.
        """
        length, queries = k_BTd.shape[1], q_BnD.shape[1]
        q_BHnd = self.rope(rms_norm(_split(q_BnD, self.heads)), start + length - queries)
        k_BKTd = self.rope(rms_norm(_split(k_BTd, self.kv_heads)), start)
        v_BKTd = _split(v_BTd, self.kv_heads)
        q_BHnd = q_BHnd * self.q_gain.to(q_BHnd.dtype)[:, None, None]
        grouped = self.heads != self.kv_heads
        if 0 < self.window < length and (queries == length or queries > 2 * self.window):
            # In blocks, from the first token on: for few queries a mask of all of them and all keys costs less.
            whole_BHTd = F.pad(q_BHnd, (0, 0, length - queries, 0))
            out_BHnd = windowed_attention(whole_BHTd, k_BKTd, v_BKTd, self.window)[:, :, -queries:]
        elif queries < length:
            mask = tail_mask(queries, length, self.window, q_BnD.device)
            out_BHnd = F.scaled_dot_product_attention(
                q_BHnd, k_BKTd, v_BKTd, attn_mask=mask, enable_gqa=grouped
            )
        else:
            out_BHnd = F.scaled_dot_product_attention(
                q_BHnd, k_BKTd, v_BKTd, is_causal=True, enable_gqa=grouped
            )
        return F.linear(out_BHnd.transpose(1, 2).flatten(2), self.proj)


def tail_mask(queries: int, length: int, window: int, device: torch.device) -> torch.Tensor:
    """(n, T) booleans: may each of the last n tokens see each of the T? A window w is itself and w - 1 before."""
    place = torch.arange(length, device=device)
    distance = place[length - queries :, None] - place[None, :]
    return (distance >= 0) & (distance < (window or length))


def _split(x_BTd: torch.Tensor, heads: int) -> torch.Tensor:
    return x_BTd.view(*x_BTd.shape[:-1], heads, -1).transpose(1, 2)


def windowed_attention(
    q_BHTd: torch.Tensor, k_BKTd: torch.Tensor, v_BKTd: torch.Tensor, window: int
) -> torch.Tensor:
    """Attention (B, H, T, d) of each token to itself and the window - 1 tokens before it.

    The row is cut into N blocks of `window` tokens; a block sees itself and the block before it, masked to the
    window. Cost: 2 T window score products instead of T^2 / 2.
    """
    (batch, heads, length, size), kv_heads = q_BHTd.shape, k_BKTd.shape[1]
    padding = -length % window
    blocks = (length + padding) // window

    def cut(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 0, 0, padding)).view(batch, -1, blocks, window, size).transpose(1, 2)

    def with_previous(x: torch.Tensor) -> torch.Tensor:  # (B, N, K, window, d) -> (B, N, K, 2 window, d)
        return torch.cat((F.pad(x, (0, 0, 0, 0, 0, 0, 1, -1)), x), dim=3)

    q = cut(q_BHTd).flatten(0, 1)
    k, v = (with_previous(cut(x)).flatten(0, 1) for x in (k_BKTd, v_BKTd))
    mask = _window_mask(window, blocks, q.device).repeat(batch, 1, 1).unsqueeze(1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=heads != kv_heads)
    out = out.view(batch, blocks, heads, window, size).transpose(1, 2)
    return out.reshape(batch, heads, blocks * window, size)[:, :, :length]


def _window_mask(window: int, blocks: int, device: torch.device) -> torch.Tensor:
    """(N, window, 2 window) booleans: may the query see the key? Keys before the row's start are padding."""
    place = torch.arange(2 * window, device=device)
    distance = place[window:, None] - place[None, :]
    seen = ((distance >= 0) & (distance < window)).repeat(blocks, 1, 1)
    seen[0, :, :window] = False
    return seen
