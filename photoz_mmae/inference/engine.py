"""Images in, raw predictions out: one device, fixed batches, image only."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.errors import UsageError
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.masking import repeated_masks
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.weights import TrainedModel

# Measured: beyond 64 a CPU's caches lose, while a GPU wants to be filled.
CPU_BATCH = 64
CUDA_BATCH = 2048

Floats = NDArray[np.float32]


@dataclass
class Prediction:
    """What the network says of N objects.

    Attributes
    ----------
    mass : array, (N, K), or None
        p(z) as probabilities of the model's bins; None for a model that gives a point.
    z_point : array, (N,), or None
        The point estimate of such a model.
    z_masked : array, (N, M), or None
        Mean redshift, or point, of each of M passes with a quarter of the image hidden.
    spectrum : array, (N, P), or None
        Reconstructed observed spectrum over its mean.
    spectrum_masked : array, (N, M, P), or None
    """

    mass: Floats | None
    z_point: Floats | None
    z_masked: Floats | None
    spectrum: Floats | None
    spectrum_masked: Floats | None


class Engine:
    """A model on a device, ready to predict.

    Parameters
    ----------
    model : TrainedModel
    device : str
        `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:K`.
    batch_size : int or "auto"
        Objects per pass of the network. Every batch has exactly this size, the last one padded,
        so that values do not depend on how many objects come together.
    masks : int
        Number of passes with a quarter of the image hidden, for the spread.

    Raises
    ------
    UsageError
        The device does not exist here.
    """

    def __init__(
        self,
        model: TrainedModel,
        device: str = "auto",
        batch_size: int | str = "auto",
        masks: int = 4,
    ) -> None:
        self.device = resolve_device(device)
        on_gpu = self.device.startswith("cuda")
        if batch_size == "auto":
            batch_size = CUDA_BATCH if on_gpu else CPU_BATCH
        self.batch_size = int(batch_size)
        self.model = model
        self._network = model.network.to(self.device).eval()
        self._dust = Dust(model.info.dust, model.info.extinction)
        tokens = self._network.settings.image_tokens
        self._masks = repeated_masks(tokens, masks).to(self.device)
        self._pinned = on_gpu

    def predict(self, images: Floats, ebv: Floats | None = None) -> Prediction:
        """Predict from images alone, and E(B-V) where the model wants it.

        Parameters
        ----------
        images : array of float32, (N, B, S, S)
            Flux at zero point 27, as measured; finite.
        ebv : array of float32, (N,), optional
            E(B-V) towards them, mag; NaN, or nothing at all, where it is not known.
        """
        if ebv is None:
            ebv = np.full(len(images), np.nan, np.float32)
        batches = [self._predict_batch(*batch) for batch in self._batches(images, ebv)]
        joined = {
            field.name: _concatenate([getattr(batch, field.name) for batch in batches])
            for field in fields(Prediction)
        }
        return Prediction(**joined)

    def _batches(self, images: Floats, ebv: Floats) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield batches of the fixed size on the device, and how many of each are objects."""
        # At least one batch, so that no objects give arrays of the right shapes.
        for start in range(0, max(len(images), 1), self.batch_size):
            part = images[start : start + self.batch_size]
            host = torch.zeros((self.batch_size, *images.shape[1:]), pin_memory=self._pinned)
            host[: len(part)] = torch.from_numpy(part)
            reddening = torch.full((self.batch_size,), torch.nan)
            reddening[: len(part)] = torch.from_numpy(ebv[start : start + self.batch_size])
            on_device = host.to(self.device, non_blocking=True)
            yield on_device, reddening.to(self.device), len(part)

    @torch.inference_mode()
    def _predict_batch(self, images: Tensor, ebv: Tensor, n: int) -> Prediction:
        network = self._network
        images, ebv = self._dust.prepare(images, ebv)
        if not isinstance(network, MMAE):
            masked = [network.redshift_of(images, self._hide(mask)) for mask in self._masks]
            return Prediction(
                mass=None,
                z_point=_numpy(network.redshift_of(images), n),
                z_masked=_stack(masked, n),
                spectrum=None,
                spectrum_masked=None,
            )
        embedded = network.embed(images, ebv)
        mass, _, spectrum = self._read(network, embedded, None)
        masked_passes = [self._read(network, embedded, self._hide(mask)) for mask in self._masks]
        return Prediction(
            mass=_numpy(mass, n),
            z_point=None,
            z_masked=_stack([mean for _, mean, _ in masked_passes], n),
            spectrum=_numpy(spectrum, n),
            spectrum_masked=_stack([recon for _, _, recon in masked_passes], n),
        )

    def _hide(self, mask: Tensor) -> Tensor:
        return mask.expand(self.batch_size, -1)

    @staticmethod
    def _read(
        network: MMAE, embedded: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass: p(z) (N, K), its mean redshift (N,), the spectrum (N, P)."""
        encoded = network.encode(embedded, image_hidden=hidden)
        mass = network.redshift_logits(encoded).softmax(dim=1)
        centres = torch.expm1(
            (network.redshift_head.edges[1:] + network.redshift_head.edges[:-1]) / 2
        )
        return mass, mass @ centres.to(mass.dtype), network.decode_spectrum(encoded)


def resolve_device(device: str) -> str:
    """Turn `auto` into a device that is there, and check one that is named."""
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:K")
    if kind == "cpu":
        return "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise UsageError(f"device {device!r} is not there: torch sees {count} GPU(s); use cpu")
    return f"cuda:{index or 0}"


def _numpy(values: Tensor, n: int) -> Floats:
    array: Floats = values[:n].float().cpu().numpy()
    return array


def _stack(passes: list[Tensor], n: int) -> Floats | None:
    """M tensors (N, ...) -> (N, M, ...); None when there are none."""
    return _numpy(torch.stack(passes, dim=1), n) if passes else None


def _concatenate(parts: list[Floats | None]) -> Floats | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None
