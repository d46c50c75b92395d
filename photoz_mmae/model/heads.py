"""What is read from the encoded tokens: p(z), the class, hidden patches, the spectrum."""

import math

import torch
from torch import Tensor, nn

from photoz_mmae.model.blocks import QueryBlock
from photoz_mmae.model.masking import visible_tokens
from photoz_mmae.model.presets import MMAENetwork


class RedshiftHead(nn.Module):
    """p(z) as probabilities of bins of equal width in ln(1+z), from 0 to `redshift_max`."""

    edges: Tensor

    def __init__(self, settings: MMAENetwork) -> None:
        super().__init__()
        top = math.log1p(settings.redshift_max)
        edges = torch.linspace(0, top, settings.redshift_bins + 1, dtype=torch.float64)
        self.register_buffer("edges", edges, persistent=False)
        self.net = nn.Sequential(
            nn.LayerNorm(2 * settings.width),
            nn.Linear(2 * settings.width, 4 * settings.width),
            nn.Sequential(nn.GELU(), nn.Dropout(settings.dropout)),
            nn.Linear(4 * settings.width, settings.redshift_bins),
        )

    def forward(self, summary: Tensor) -> Tensor:
        """(N, 2 W) -> (N, K) logits of the bins."""
        logits: Tensor = self.net(summary)
        return logits


class ClassHead(nn.Module):
    """Logits of the classes that a network tells apart."""

    def __init__(self, settings: MMAENetwork) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(2 * settings.width),
            nn.Linear(2 * settings.width, settings.width),
            nn.Sequential(nn.GELU(), nn.Dropout(settings.dropout)),
            nn.Linear(settings.width, len(settings.classes)),
        )

    def forward(self, summary: Tensor) -> Tensor:
        """(N, 2 W) -> (N, classes) logits."""
        logits: Tensor = self.net(summary)
        return logits


class TokenDecoder(nn.Module):
    """One query per position looks at the encoded tokens and gives that position's pixels.

    It works from the tokens, not from one pooled vector, so that detail can survive.
    """

    def __init__(self, settings: MMAENetwork, positions: int, pixels: int) -> None:
        super().__init__()
        width = settings.decoder_width
        self.queries = nn.Parameter(0.02 * torch.randn(positions, width))
        self.block = QueryBlock(width, settings.width, settings.heads)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, pixels))

    def forward(
        self, encoded: Tensor, there: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """Read pixels off the encoded tokens: (N, T, W) -> (N, positions, pixels).

        Parameters
        ----------
        encoded : Tensor, (N, T, W)
        there : Tensor of bool, (N, T), optional
            False for tokens of no account.
        wanted : Tensor of bool, (N, positions), optional
            Give only these positions, in their order; the same number for every object.
        """
        queries = self.queries.expand(len(encoded), -1, -1)
        if wanted is not None:
            queries = visible_tokens(queries, ~wanted)
        pixels: Tensor = self.out(self.block(queries, encoded, there))
        return pixels
