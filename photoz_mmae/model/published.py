"""The published network, exactly (arXiv:2510.22527): preset `paper`.

Module names follow the published checkpoints, so that those load as they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from photoz_mmae.model.attention import Dropout, MultiheadAttention
from photoz_mmae.model.presets import PublishedNetwork


@dataclass
class PublishedOutput:
    """What the published network answers for N objects.

    Attributes
    ----------
    redshift : Tensor, (N,)
    image : Tensor, (N, 5, 64, 64)
        Reconstruction.
    spectrum : Tensor, (N, P)
        Reconstruction.
    representation : Tensor, (N, 2 W)
        The two pooled modalities side by side.
    """

    redshift: Tensor
    image: Tensor
    spectrum: Tensor
    representation: Tensor


class ImageEmbedding(nn.Module):
    """Image patches to tokens: (N, B, S, S) -> (N, T, W)."""

    def __init__(self, settings: PublishedNetwork) -> None:
        super().__init__()
        patch, width = settings.patch_size, settings.width
        self.proj = nn.Conv2d(settings.bands, width, kernel_size=patch, stride=patch)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, settings.image_tokens, width))

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens + self.pos_embed


class SpectrumEmbedding(nn.Module):
    """Runs of pixels to tokens, the last incomplete one left out: (N, P) -> (N, T, W)."""

    def __init__(self, settings: PublishedNetwork) -> None:
        super().__init__()
        self.shape = (settings.spectrum_tokens, settings.spectrum_patch_size)
        self.linear = nn.Linear(settings.spectrum_patch_size, settings.width)
        self.pos_embed = nn.Parameter(
            0.02 * torch.randn(1, settings.spectrum_tokens, settings.width)
        )
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, spectrum: Tensor) -> Tensor:
        tokens, pixels = self.shape
        patches = spectrum[:, : tokens * pixels].reshape(-1, tokens, pixels)
        embedded: Tensor = self.norm(self.linear(patches) + self.pos_embed)
        return embedded


class Encoder(nn.Module):
    """Post-norm transformer over the tokens of one modality."""

    def __init__(self, settings: PublishedNetwork) -> None:
        super().__init__()
        width, heads, dropout = settings.width, settings.heads, settings.dropout
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            dim_feedforward=4 * width,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
        )
        layer.self_attn = MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        layer.dropout, layer.dropout1, layer.dropout2 = (Dropout(dropout) for _ in range(3))
        self.encoder = nn.TransformerEncoder(layer, settings.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        encoded: Tensor = self.norm(self.encoder(tokens))
        return encoded


class CrossAttention(nn.Module):
    """One modality looks at the other; post-norm."""

    def __init__(self, settings: PublishedNetwork) -> None:
        super().__init__()
        width, dropout = settings.width, settings.dropout
        self.cross_attn = MultiheadAttention(
            width, settings.heads, dropout=dropout, batch_first=True
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(4 * width, width),
            Dropout(dropout),
        )

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        attended, _ = self.cross_attn(query, other, other, need_weights=False)
        query = self.norm1(query + attended)
        fused: Tensor = self.norm2(query + self.ffn(query))
        return fused


class PublishedMMAE(nn.Module):
    """The multi-modal masked autoencoder of arXiv:2510.22527.

    Parameters
    ----------
    settings : PublishedNetwork
        Sizes; the defaults are the published ones (16,364,036 parameters).
    """

    def __init__(self, settings: PublishedNetwork) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.img_embed = ImageEmbedding(settings)
        self.spec_embed = SpectrumEmbedding(settings)
        self.img_encoder = Encoder(settings)
        self.spec_encoder = Encoder(settings)
        self.cross_attention_layers = nn.ModuleList(
            CrossAttention(settings) for _ in range(settings.fusion_blocks)
        )
        self.img_pool = MultiheadAttention(width, settings.heads, batch_first=True)
        self.spec_pool = MultiheadAttention(width, settings.heads, batch_first=True)
        self.cls_token_img = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.cls_token_spec = nn.Parameter(0.02 * torch.randn(1, 1, width))
        pixels = settings.bands * settings.image_size**2
        self.img_decoder = _decoder(width, pixels, settings.dropout)
        self.spec_decoder = _decoder(width, settings.spectrum_pixels, settings.dropout)
        self.apply(_initialise)
        # As published, the redshift head keeps torch's own initialisation.
        self.redshift_head = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(
        self,
        image: Tensor,
        spectrum: Tensor | None,
        image_hidden: Tensor | None = None,
        spectrum_hidden: Tensor | None = None,
    ) -> PublishedOutput:
        """Run both branches, fuse them, decode.

        Parameters
        ----------
        image : Tensor, (N, 5, 64, 64)
            Flux at zero point 27, not stretched.
        spectrum : Tensor, (N, P), or None
            Normalised spectrum; None where there is none: all its tokens are zero.
        image_hidden, spectrum_hidden : Tensor of bool, (N, T), optional
            True where a token is hidden: set to zero, and kept in the sequence.
        """
        image_tokens = _zero_hidden(self.img_embed(image), image_hidden)
        if spectrum is None:
            spectrum_tokens = image.new_zeros(
                len(image), self.settings.spectrum_tokens, self.settings.width
            )
        else:
            spectrum_tokens = _zero_hidden(self.spec_embed(spectrum), spectrum_hidden)
        representation = self._fuse(
            self.img_encoder(image_tokens), self.spec_encoder(spectrum_tokens)
        )
        return PublishedOutput(
            redshift=self.redshift_head(representation).squeeze(-1),
            image=self._to_image(self.img_decoder(representation)),
            spectrum=self.spec_decoder(representation),
            representation=representation,
        )

    def redshift_of(self, image: Tensor, image_hidden: Tensor | None = None) -> Tensor:
        """Redshift from the image alone, as `forward` without spectrum: (N, 5, 64, 64) -> (N,)."""
        redshift: Tensor = self.redshift_head(self.representation_of(image, image_hidden))
        return redshift.squeeze(-1)

    def representation_of(self, image: Tensor, image_hidden: Tensor | None = None) -> Tensor:
        """Give what the redshift head reads, from the image alone: (N, 5, 64, 64) -> (N, 2 W).

        Without a spectrum all its tokens are the same zero vector, so its encoder's output is a
        constant, attention over 32 equal keys is attention over one, and the decoders are idle.
        """
        image_tokens = _zero_hidden(self.img_embed(image), image_hidden)
        nothing = image.new_zeros(1, 1, self.settings.width)
        spectrum_tokens = self.spec_encoder(nothing).expand(len(image), -1, -1)
        return self._fuse(self.img_encoder(image_tokens), spectrum_tokens)

    def _fuse(self, image: Tensor, spectrum: Tensor) -> Tensor:
        """Exchange between the modalities, then pool each: two (N, T, W) -> (N, 2 W)."""
        for block in self.cross_attention_layers:
            # One block's weights serve both directions.
            image, spectrum = block(image, spectrum), block(spectrum, image)
        n = len(image)
        pooled_image, _ = self.img_pool(
            self.cls_token_img.expand(n, -1, -1), image, image, need_weights=False
        )
        pooled_spectrum, _ = self.spec_pool(
            self.cls_token_spec.expand(n, -1, -1), spectrum, spectrum, need_weights=False
        )
        return torch.cat([pooled_image, pooled_spectrum], dim=2).squeeze(1)

    def _to_image(self, flat: Tensor) -> Tensor:
        """(N, T * B * p * p), patch by patch -> (N, B, S, S)."""
        settings = self.settings
        side, patch = settings.image_size // settings.patch_size, settings.patch_size
        patches = flat.view(-1, side, side, settings.bands, patch, patch)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(
            -1, settings.bands, settings.image_size, settings.image_size
        )


def _zero_hidden(tokens: Tensor, hidden: Tensor | None) -> Tensor:
    return tokens if hidden is None else tokens.masked_fill(hidden.unsqueeze(-1), 0.0)


def _decoder(width: int, pixels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * width, 2 * width),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(2 * width, width),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(width, pixels),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
