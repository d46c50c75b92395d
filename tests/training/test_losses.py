"""Losses against their definitions."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.training import losses

REFERENCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "reference_network"
EDGES = torch.linspace(0, math.log(7), 41, dtype=torch.float64)


def test_hsc_loss_is_the_published_one():
    path = REFERENCE / "reference.json"
    if not path.exists():
        pytest.skip("the published values are not on this machine")
    for case in json.loads(path.read_text())["hsc_loss"]:
        z_phot, z_spec = torch.tensor([case["z_phot"]]), torch.tensor([case["z_spec"]])
        assert losses.hsc_loss(z_phot, z_spec).item() == pytest.approx(case["loss"], abs=1e-6)


@given(st.floats(0.0, 5.9), st.integers(0, 1000))
def test_crps_equals_the_integral(redshift, seed):
    logits = 3 * torch.randn(1, 40, generator=torch.Generator().manual_seed(seed))
    x = np.linspace(0, math.log(7), 40 * 500 + 1)
    middle = (x[1:] + x[:-1]) / 2
    cdf = np.interp(middle, EDGES.numpy(), np.r_[0, logits.softmax(1)[0].double().cumsum(0)])
    step = middle > math.log1p(redshift)
    expected = ((cdf - step) ** 2).sum() * (x[1] - x[0])
    value = losses.crps(logits.double(), torch.tensor([redshift]).double(), EDGES).item()
    assert value == pytest.approx(expected, abs=2e-4)


@given(st.floats(0.0, 5.99))
def test_cross_entropy_is_least_for_mass_around_the_truth(redshift):
    position = math.log1p(redshift) / (math.log(7) / 40) - 0.5
    bins = torch.arange(40)
    right = -((bins - position) ** 2)
    wrong = right.roll(7)
    z = torch.tensor([redshift])
    assert losses.bin_cross_entropy(right[None], z, EDGES) < losses.bin_cross_entropy(
        wrong[None], z, EDGES
    )


def test_cross_entropy_moves_smoothly_through_a_bin():
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(1))
    z = torch.expm1(torch.linspace(0.5, 0.55, 400))
    values = torch.stack([losses.bin_cross_entropy(logits, one[None], EDGES) for one in z])
    # Piecewise linear, without a jump.
    assert (values.diff().abs() < 0.02).all()
    assert values.max() - values.min() > 0.05


def test_masked_mse_sees_the_mask_only():
    prediction, target = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    mask = torch.zeros(2, 3, 1, dtype=torch.bool)
    assert losses.masked_mse(prediction, target, mask).tolist() == [0, 0]
    mask[0, 1] = True
    target[1] = 100.0
    assert losses.masked_mse(prediction, target, mask).tolist() == [1, 0]


def test_spectrum_loss_ignores_what_is_invalid_or_not_asked_for():
    flux, ivar = torch.ones(2, 10), torch.full((2, 10), 1e6)
    mask = torch.ones(2, 10, dtype=torch.bool)
    ivar[0, 3] = 0
    mask[1, 5] = False
    prediction = flux.clone()
    prediction[0, 3] = prediction[1, 5] = 50.0
    assert losses.spectrum_loss(prediction, flux, ivar, mask).tolist() == [0, 0]
    prediction[0, 4] = 1.1
    # One pixel of nine off by one floor: Huber's half square.
    first, second = losses.spectrum_loss(prediction, flux, ivar, mask).tolist()
    assert first == pytest.approx(0.5 / 9, rel=1e-3)
    assert second == 0
