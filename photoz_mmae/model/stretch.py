"""From fluxes over five orders of magnitude to numbers a network can take."""

import torch
from torch import Tensor, nn


class Stretch(nn.Module):
    """arcsinh of flux in units of the noise, standardised per band.

    The numbers live in the weights file, so that prediction cannot use others than training did.

    Parameters
    ----------
    bands : int
    """

    noise: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        for name in ("noise", "mean", "std"):
            self.register_buffer(name, torch.ones(bands))

    def forward(self, image: Tensor) -> Tensor:
        """(..., B, S, S) flux -> (..., B, S, S) of mean 0 and standard deviation 1 per band."""
        ratio = image / self.noise.view(-1, 1, 1)
        size = ratio.abs()
        # arcsinh by its formula: torch's own takes more than twice as long.
        stretched = (size + (size.square() + 1).sqrt()).log().copysign(ratio)
        return (stretched - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def fit(self, image: Tensor, measured: Tensor | None = None) -> None:
        """Set the numbers from training images (N, B, S, S), all of them or the `measured` (N, B).

        The noise unit is the standard deviation of the negative pixels, as DeepZ publishes it for
        the real data set.
        """
        for band, images in enumerate(image.transpose(0, 1)):
            values = (images if measured is None else images[measured[:, band]]).flatten()
            negative = values[values < 0]
            self.noise[band] = negative.std() if len(negative) > 1 else 1.0
            stretched = torch.asinh(values / self.noise[band])
            self.mean[band] = stretched.mean()
            self.std[band] = stretched.std().clamp(min=1e-6)
