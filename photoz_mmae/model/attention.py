"""Attention and dropout, as fast as each processor does them.

On a CPU torch's fused attention is the fastest way in float32, but its gradient in bfloat16 takes
several times as long as plain products do; and a layer with dropout spends half of its time on
drawing a number for each value (`benchmarks/training_speed.py --precision bfloat16`).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    there: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention of each head: (N, H, Q, D), twice (N, H, T, D) -> (N, H, Q, D).

    Parameters
    ----------
    query, key, value : Tensor
    there : Tensor of bool, broadcast to (N, H, Q, T), optional
        Where a query looks at a token; everywhere by default.
    dropout : float
        Share of the weights that are set to zero.
    """
    if query.device.type != "cpu" or (query.dtype != torch.bfloat16 and not dropout):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=there, dropout_p=dropout
        )
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if there is not None:
        logits = logits.masked_fill(~there, -torch.inf)
    return drop(logits.softmax(dim=-1).to(value.dtype), dropout) @ value


def drop(x: Tensor, share: float) -> Tensor:
    """Set a random `share` of the values to zero, and scale the others by 1 / (1 - `share`).

    On a CPU each value has 16 random bits of its own, so that the share is met to 1e-5.
    """
    if not share or x.device.type != "cpu":
        return functional.dropout(x, share)
    # Four values for each number that is drawn.
    drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[: x.numel()] >= round(share * 2**16) - 2**15
    return x * kept.to(x.dtype).div_(1 - share).view(x.shape)


class Dropout(nn.Dropout):
    """torch's, by `drop`."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.p) if self.training else x


class MultiheadAttention(nn.MultiheadAttention):
    """torch's, with its parameters, by `attend`; key and value are the same tokens, no weights."""

    def forward(  # type: ignore[override]
        self, query: Tensor, source: Tensor, _value: Tensor, **_options: Any
    ) -> tuple[Tensor, None]:
        """(N, Q, W), (N, T, W) -> (N, Q, W)."""
        n, _, width = query.shape
        split = (n, -1, self.num_heads, width // self.num_heads)
        weight, bias = self.in_proj_weight, self.in_proj_bias
        queries = functional.linear(query, weight[:width], bias[:width])
        key, value = functional.linear(source, weight[width:], bias[width:]).chunk(2, dim=2)
        attended = attend(
            queries.view(split).transpose(1, 2),
            key.view(split).transpose(1, 2),
            value.view(split).transpose(1, 2),
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(attended.transpose(1, 2).reshape(n, -1, width)), None
