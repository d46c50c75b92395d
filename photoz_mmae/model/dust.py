"""Galactic dust: what a network gets of an image and its E(B-V), in training and in prediction."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from photoz_mmae.model.presets import DustTreatment

MAX_EBV = 5.0
"""Mag: nobody finds a galaxy's redshift behind more; a larger value is a mistake."""


def usable_ebv(values: ArrayLike) -> NDArray[np.float32]:
    """Return E(B-V) as float32, NaN where it is missing: not finite, negative, above `MAX_EBV`."""
    ebv = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        usable = (ebv >= 0) & (ebv <= MAX_EBV)
    return np.where(usable, ebv, np.nan).astype(np.float32)


@dataclass(frozen=True)
class Dust:
    """How a model treats Galactic reddening.

    Attributes
    ----------
    treatment : str
        `none`: images are taken as they come. `deredden`: flux is brought to what it would be
        without dust. `input`: the network is told E(B-V).
    extinction : tuple of float, (B,), or None
        A_band / E(B-V) per band; needed to deredden.
    """

    treatment: DustTreatment = "none"
    extinction: tuple[float, ...] | None = None

    def prepare(self, image: Tensor, ebv: Tensor) -> tuple[Tensor, Tensor]:
        """Turn images and E(B-V) as they were measured into what the network gets.

        Training and prediction both come through here, before stretch and flux token.

        Parameters
        ----------
        image : Tensor, (N, B, S, S)
            Flux.
        ebv : Tensor, (N,)
            Mag; NaN where missing, which is 0 to `deredden`.
        """
        if self.treatment == "deredden":
            # A = R E(B-V): (N, 1) * (B,) -> (N, B) mag
            magnitudes = ebv.nan_to_num(nan=0.0).unsqueeze(1) * image.new_tensor(self.extinction)
            image = image * torch.pow(10.0, 0.4 * magnitudes)[:, :, None, None]
        return image, ebv
