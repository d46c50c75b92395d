"""Images in, raw predictions out: one device, fixed batches, image only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.inference.device import is_out_of_memory, resolve_device
from photoz_mmae.inference.missing import Completed, complete
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.masking import repeated_masks
from photoz_mmae.model.mmae import MMAE, Embedded
from photoz_mmae.model.weights import TrainedModel

# Measured: beyond 64 a CPU's caches lose, while a GPU wants to be filled.
CPU_BATCH = 64
CUDA_BATCH = 2048

LACKING_BATCH = 8
"""Objects that lack patches come in batches of their own, so many times smaller: they are few."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Answer = TypeVar("Answer")


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
    class_mass : array, (N, classes), or None
        Probabilities of the model's classes, where it tells some apart.
    """

    mass: Floats | None
    z_point: Floats | None
    z_masked: Floats | None
    spectrum: Floats | None
    spectrum_masked: Floats | None
    class_mass: Floats | None


@dataclass
class _Batch:
    """N objects as the network is asked about them, of which the first `n` count.

    Attributes
    ----------
    images : Tensor, (N, B, S, S)
    ebv : Tensor, (N,)
    psf_fwhm : Tensor, (N, B)
    present : Tensor of bool, (N, B)
        Bands that are there.
    lost : Tensor of bool, (N, T), or None
        Patches that are hidden; None: none of any object.
    unmeasured : Tensor of bool, (N, S, S), or None
        Pixels that apertures leave out; None: none of any object.
    n : int
    """

    images: Tensor
    ebv: Tensor
    psf_fwhm: Tensor
    present: Tensor
    lost: Tensor | None
    unmeasured: Tensor | None
    n: int


@dataclass
class _Pass:
    """What one pass of the network says of N objects.

    Attributes
    ----------
    mass : Tensor, (N, K)
    mean : Tensor, (N,)
        Redshift.
    spectrum : Tensor, (N, P)
    class_mass : Tensor, (N, classes), or None
    """

    mass: Tensor
    mean: Tensor
    spectrum: Tensor
    class_mass: Tensor | None


class Engine:
    """A model on a device, ready to predict.

    Parameters
    ----------
    model : TrainedModel
    device : str
        `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:K`.
    batch_size : int or "auto"
        Objects per pass of the network. Every batch has exactly this size, the last one padded,
        so that values do not depend on how many objects come together. Where memory does not
        suffice it is halved, for good.
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

    def predict(
        self,
        images: Floats,
        ebv: Floats | None = None,
        missing: Bools | None = None,
        psf_fwhm: Floats | None = None,
    ) -> Prediction:
        """Predict from images alone, and E(B-V) and the seeing where the model wants them.

        Parameters
        ----------
        images : array of float32, (N, B, S, S)
            Flux at zero point 27, as measured; finite; 0 where `missing`.
        ebv : array of float32, (N,), optional
            E(B-V) towards them, mag; NaN, or nothing at all, where it is not known.
        missing : array of bool, (N, B, S, S), optional
            Pixels that were not measured; see `photoz_mmae.inference.missing`.
        psf_fwhm : array of float32, (N, B), optional
            Width of the PSF, arcsec; NaN, or nothing at all, where it is not known.
        """
        answers, back = self._in_batches(self._predict_batch, images, ebv, missing, psf_fwhm)
        joined = {
            field.name: _concatenate([getattr(answer, field.name) for answer in answers], back)
            for field in fields(Prediction)
        }
        return Prediction(**joined)

    def embed(
        self,
        images: Floats,
        ebv: Floats | None = None,
        missing: Bools | None = None,
        psf_fwhm: Floats | None = None,
    ) -> Floats:
        """Give what the network's redshift head reads of images alone, (N, D); as `predict`."""
        answers, back = self._in_batches(self._embed_batch, images, ebv, missing, psf_fwhm)
        return np.concatenate(answers)[back]

    def _in_batches(
        self,
        ask: Callable[[_Batch], Answer],
        images: Floats,
        ebv: Floats | None,
        missing: Bools | None,
        psf_fwhm: Floats | None,
    ) -> tuple[list[Answer], NDArray[np.intp]]:
        """Ask the network batch by batch; also the order that brings the rows of answers back."""
        if ebv is None:
            ebv = np.full(len(images), np.nan, np.float32)
        if psf_fwhm is None:
            psf_fwhm = np.full(images.shape[:2], np.nan, np.float32)
        whole = complete(images, missing, self._network.settings.patch_size)
        lacking = whole.hidden.any(axis=1)
        order = np.argsort(lacking, kind="stable")
        groups = np.split(order, [int((~lacking).sum())])
        while True:
            sizes = (self.batch_size, max(1, self.batch_size // LACKING_BATCH))
            try:
                answers = [
                    ask(batch)
                    for rows, size in zip(groups, sizes, strict=True)
                    if len(rows) or not len(images)  # no objects give arrays of the right shapes
                    for batch in self._batches(whole, ebv, psf_fwhm, rows, size)
                ]
            except (MemoryError, RuntimeError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
            else:
                return answers, np.argsort(order)
            # Not in the clause above, where the error holds on to what filled the memory.
            self.batch_size //= 2
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()

    def _batches(
        self,
        whole: Completed,
        ebv: Floats,
        psf_fwhm: Floats,
        rows: NDArray[np.intp],
        size: int,
    ) -> Iterator[_Batch]:
        """Yield batches of a fixed size on the device."""
        lacking = bool(whole.hidden[rows].any())
        for start in range(0, max(len(rows), 1), size):
            some = rows[start : start + size]
            host = torch.zeros((size, *whole.images.shape[1:]), pin_memory=self._pinned)
            np.take(whole.images, some, axis=0, out=host.numpy()[: len(some)], mode="clip")
            yield _Batch(
                images=host.to(self.device, non_blocking=True),
                ebv=_padded(ebv[some], size, np.nan).to(self.device),
                psf_fwhm=_padded(psf_fwhm[some], size, np.nan).to(self.device),
                present=_padded(whole.present[some], size, True).to(self.device),
                lost=_padded(whole.hidden[some], size, False).to(self.device) if lacking else None,
                unmeasured=(
                    _padded(whole.unmeasured[some], size, False).to(self.device)
                    if lacking
                    else None
                ),
                n=len(some),
            )

    @torch.inference_mode()
    def _predict_batch(self, batch: _Batch) -> Prediction:
        network, lost, n = self._network, batch.lost, batch.n
        images, ebv = self._dust.prepare(batch.images, batch.ebv)
        masks = [mask.expand(len(images), -1) for mask in self._masks]
        if not isinstance(network, MMAE):
            masked = [
                network.redshift_of(images, mask if lost is None else mask | lost) for mask in masks
            ]
            return Prediction(
                mass=None,
                z_point=_numpy(network.redshift_of(images, lost), n),
                z_masked=_stack(masked, n),
                spectrum=None,
                spectrum_masked=None,
                class_mass=None,
            )
        embedded = network.embed(images, ebv, batch.present, batch.psf_fwhm)
        passes = [self._read(network, embedded, mask, batch) for mask in (None, *masks)]
        whole, masked_passes = passes[0], passes[1:]
        return Prediction(
            mass=_numpy(whole.mass, n),
            z_point=None,
            z_masked=_stack([each.mean for each in masked_passes], n),
            spectrum=_numpy(whole.spectrum, n),
            spectrum_masked=_stack([each.spectrum for each in masked_passes], n),
            class_mass=None if whole.class_mass is None else _numpy(whole.class_mass, n),
        )

    @torch.inference_mode()
    def _embed_batch(self, batch: _Batch) -> Floats:
        network, lost, n = self._network, batch.lost, batch.n
        images, ebv = self._dust.prepare(batch.images, batch.ebv)
        if not isinstance(network, MMAE):
            return _numpy(network.representation_of(images, lost), n)
        there = None if lost is None else network.tokens_there(lost)
        embedded = network.embed(images, ebv, batch.present, batch.psf_fwhm)
        encoded = network.encode(embedded, there=there, unmeasured=batch.unmeasured)
        return _numpy(network.representation(encoded), n)

    @staticmethod
    def _read(network: MMAE, embedded: Embedded, hidden: Tensor | None, batch: _Batch) -> "_Pass":
        """Ask once."""
        there = None if batch.lost is None else network.tokens_there(batch.lost, hidden)
        encoded = network.encode(
            embedded, image_hidden=hidden, there=there, unmeasured=batch.unmeasured
        )
        mass = network.redshift_logits(encoded).softmax(dim=1)
        centres = torch.expm1(
            (network.redshift_head.edges[1:] + network.redshift_head.edges[:-1]) / 2
        )
        class_logits = network.class_logits(encoded)
        return _Pass(
            mass=mass,
            mean=mass @ centres.to(mass.dtype),
            spectrum=network.decode_spectrum(encoded, there),
            class_mass=None if class_logits is None else class_logits.softmax(dim=1),
        )


def _padded(values: NDArray[Any], size: int, filling: float) -> Tensor:
    """(n, ...) -> (size, ...), the rest filled."""
    padded = np.full((size, *values.shape[1:]), filling, values.dtype)
    padded[: len(values)] = values
    return torch.from_numpy(padded)


def _numpy(values: Tensor, n: int) -> Floats:
    array: Floats = values[:n].float().cpu().numpy()
    return array


def _stack(passes: list[Tensor], n: int) -> Floats | None:
    """M tensors (N, ...) -> (N, M, ...); None when there are none."""
    return _numpy(torch.stack(passes, dim=1), n) if passes else None


def _concatenate(parts: list[Floats | None], order: NDArray[np.intp]) -> Floats | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present)[order] if present else None
