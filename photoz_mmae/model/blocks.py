"""Pre-norm transformer blocks."""

from torch import Tensor, nn

from photoz_mmae.model.attention import attend


class Attention(nn.Module):
    """Multi-head attention of `query` tokens over `source` tokens."""

    def __init__(self, width: int, source_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(source_width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, source: Tensor, there: Tensor | None = None) -> Tensor:
        """(N, Q, W), (N, T, V) -> (N, Q, W); nobody looks at source tokens that are not `there`.

        `there` is bool, (N, T); without it all of them are.
        """
        n, _, width = query.shape
        split = (n, -1, self.heads, width // self.heads)
        key, value = self.to_key_value(source).chunk(2, dim=2)
        attended = attend(
            self.to_query(query).view(split).transpose(1, 2),
            key.view(split).transpose(1, 2),
            value.view(split).transpose(1, 2),
            there=None if there is None else there[:, None, None, :],
        )
        result: Tensor = self.out(attended.transpose(1, 2).reshape(n, -1, width))
        return result


def feed_forward(width: int) -> nn.Sequential:
    """Make the usual two layers with fourfold width between them."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
    )


class SelfBlock(nn.Module):
    """Tokens look at each other: (N, T, W) -> (N, T, W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width, heads)
        self.feed_forward = feed_forward(width)

    def forward(self, tokens: Tensor, there: Tensor | None = None) -> Tensor:
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, there)
        mixed: Tensor = tokens + self.feed_forward(tokens)
        return mixed


class QueryBlock(nn.Module):
    """Queries look at encoded tokens of another width: (N, Q, W), (N, T, V) -> (N, Q, W)."""

    def __init__(self, width: int, source_width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, source_width, heads)
        self.feed_forward = feed_forward(width)

    def forward(self, queries: Tensor, source: Tensor, there: Tensor | None = None) -> Tensor:
        queries = queries + self.attention(self.norm(queries), source, there)
        read: Tensor = queries + self.feed_forward(queries)
        return read
