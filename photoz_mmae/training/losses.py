"""The losses, one function each: what each object costs, (N,)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, huber_loss, log_softmax

SPECTRUM_FLOOR = 0.1
"""Accuracy asked of a reconstructed spectrum, relative to its mean, where noise allows more."""


def hsc_loss(z_phot: Tensor, z_spec: Tensor, gamma: float = 0.15) -> Tensor:
    """Loss of point redshifts (arXiv:1704.05988): 1 - 1 / (1 + (dz / gamma)^2), (N,)."""
    dz = (z_phot - z_spec) / (1 + z_spec)
    return 1 - 1 / (1 + (dz / gamma).square())


def masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of each object where `mask`, broadcast to the target, is true, (N,).

    0 where it is true nowhere.
    """
    weight = mask.expand_as(target).to(target.dtype)
    return _mean((prediction - target).square(), weight)


def bin_cross_entropy(logits: Tensor, redshift: Tensor, edges: Tensor) -> Tensor:
    """Cross entropy with the two bins nearest to the true ln(1+z), shared linearly, (N,).

    Sharing makes the target move smoothly with redshift: no staircase.

    Parameters
    ----------
    logits : Tensor, (N, K)
    redshift : Tensor, (N,)
    edges : Tensor, (K + 1,)
        In ln(1+z), of equal width.
    """
    bins = logits.shape[1]
    width = edges[1] - edges[0]
    position = ((torch.log1p(redshift.double()) - edges[0]) / width - 0.5).clamp(0, bins - 1)
    lower = position.floor().long().clamp(max=bins - 2)
    upper_share = (position - lower).to(logits.dtype)
    log_mass = log_softmax(logits, dim=1)
    near = log_mass.gather(1, torch.stack([lower, lower + 1], dim=1))  # (N, 2)
    return -(near[:, 0] * (1 - upper_share) + near[:, 1] * upper_share)


def crps(logits: Tensor, redshift: Tensor, edges: Tensor) -> Tensor:
    """Continuous ranked probability score in ln(1+z), exact for uniform density inside bins, (N,).

    The integral over ln(1+z) of (CDF - step)^2 (Gneiting & Raftery 2007, eq. 20), which is
    E|x - y| - E|x - x'| / 2; here by the trapezium of the squared difference in each bin, split at
    the true value.
    """
    mass = logits.softmax(dim=1)
    cdf_upper = mass.cumsum(dim=1)  # (N, K) at the upper edges
    cdf_lower = cdf_upper - mass
    width = (edges[1] - edges[0]).to(mass.dtype)
    x = torch.log1p(redshift).unsqueeze(1)
    lower_edges = edges[:-1].to(mass.dtype)
    # Share of each bin that lies below the true value: (N, K).
    below = ((x - lower_edges) / width).clamp(0, 1)
    middle = cdf_lower + below * mass

    def squared(a: Tensor, b: Tensor) -> Tensor:
        """Mean of u^2 for u linear between a and b."""
        return (a.square() + a * b + b.square()) / 3

    integral = below * squared(cdf_lower, middle) + (1 - below) * squared(1 - middle, 1 - cdf_upper)
    return integral.sum(dim=1) * width


def class_cross_entropy(logits: Tensor, place: Tensor) -> Tensor:
    """Cross entropy of each object with its class (N, classes), (N,); 0 where that is below 0."""
    return cross_entropy(logits, place, ignore_index=-1, reduction="none")


def spectrum_loss(prediction: Tensor, flux: Tensor, ivar: Tensor, mask: Tensor) -> Tensor:
    """Huber loss of (prediction - flux) in units of noise and floor, where `mask` is true, (N,).

    Parameters
    ----------
    prediction, flux, ivar : Tensor, (N, P)
        Relative to the spectrum's mean.
    mask : Tensor of bool, (N, P)
    """
    weight = (mask & (ivar > 0)).to(flux.dtype)
    sigma = (1 / ivar.clamp(min=1e-12) + SPECTRUM_FLOOR**2).sqrt()
    residual = (prediction - flux) / sigma
    return _mean(
        huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=3.0), weight
    )


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over all but the first axis; 0 where all weights are."""
    values, weight = values.flatten(1), weight.flatten(1)
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
