"""Objects as they would look on another night: wider PSFs, more noise, other zero points, moved.

A few thousand images hold few combinations of seeing, depth and the place of a galaxy's centre on
the pixels' grid, which a network would otherwise learn by heart.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from photoz_mmae.training_sets.training_set import TrainingBatch

SHIFT = 0.5
"""Pixels by which an image is moved at most, along either axis."""

BLUR = 0.35
"""Arcsec FWHM: scatter of the Gaussian that a band's PSF is convolved with."""

BLUR_SHARED = 0.6
"""Share of that scatter that the bands of an object have in common."""

MORE_NOISE = 0.7
"""Of a pixel's noise unit: standard deviation of the noise that is added, at most."""

ZERO_POINT = 0.01
"""Mag: scatter of a band's zero point."""

FRAME = 8
"""Pixels of mirrored sky around an image while it is convolved, so that its edges do not meet."""

FWHM_PER_SIGMA = 2.3548


def vary(
    batch: TrainingBatch,
    share: float,
    pixel_scale: float,
    noise: Tensor,
    generator: torch.Generator,
) -> TrainingBatch:
    """Show a share of the objects under other conditions, and tell their wider PSFs.

    Parameters
    ----------
    batch : TrainingBatch
        N objects; pixels that are 0 were not measured, and stay so.
    share : float
        Of the objects, 0 to 1.
    pixel_scale : float
        Arcsec.
    noise : Tensor, (B,)
        Noise unit of a pixel, per band: the stretch's, some 0.6 standard deviations.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    TrainingBatch
        The same N objects, in their order.
    """
    n, bands = batch.image.shape[:2]
    device = batch.image.device
    rows = (torch.rand(n, generator=generator) < share).nonzero().squeeze(1)
    if not len(rows):
        return batch

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(rows), *shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(len(rows), *shape, generator=generator)

    shift = (SHIFT * (2 * uniform(2) - 1)).to(device)
    own = (1 - BLUR_SHARED**2) ** 0.5
    fwhm = (BLUR * (BLUR_SHARED * normal(1) + own * normal(bands))).abs().to(device)
    added = noise * (MORE_NOISE * uniform(bands)).to(device)
    factor = 10 ** (0.4 * ZERO_POINT * normal(bands)).to(device)
    # Of its own, where the images are: that many numbers are not to be drawn elsewhere and sent.
    pixels = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))

    rows = rows.to(device)
    still = batch.image[rows]
    image = convolved(still, fwhm / FWHM_PER_SIGMA / pixel_scale, shift) * factor[..., None, None]
    grain = torch.randn(image.shape, generator=pixels, device=device)
    image = image + added[..., None, None] * grain
    # What was not measured stays so.
    image = torch.where(still == 0, 0.0, image)
    return replace(
        batch,
        image=batch.image.index_copy(0, rows, image),
        psf_fwhm=batch.psf_fwhm.index_copy(0, rows, torch.hypot(batch.psf_fwhm[rows], fwhm)),
    )


def convolved(image: Tensor, sigma: Tensor, shift: Tensor) -> Tensor:
    """Convolve each band with a Gaussian, and move the image by parts of a pixel.

    Parameters
    ----------
    image : Tensor, (N, B, S, S)
    sigma : Tensor, (N, B)
        Pixels.
    shift : Tensor, (N, 2)
        Pixels, towards higher rows and columns.
    """
    frame = min(FRAME, image.shape[-1] - 1)  # there is no more to mirror
    framed = pad(image, (frame,) * 4, mode="reflect")
    side = framed.shape[-1]
    rows = torch.fft.fftfreq(side, device=image.device).view(-1, 1)
    columns = torch.fft.rfftfreq(side, device=image.device).view(1, -1)
    width = sigma[..., None, None]
    gaussian = torch.exp(-2 * (torch.pi * width) ** 2 * (rows**2 + columns**2))
    turns = shift[:, 0, None, None] * rows + shift[:, 1, None, None] * columns
    phase = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns).unsqueeze(1)
    transformed = torch.fft.rfft2(framed) * (gaussian * phase)
    seen: Tensor = torch.fft.irfft2(transformed, s=(side, side))
    return seen[..., frame:-frame, frame:-frame]
