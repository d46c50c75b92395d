"""The power spectrum of the mock's noise is that of the noise that is added."""

import numpy as np
import torch

from photoz_mmae.simulation.exposure import expose, noise_power, sky_noise
from photoz_mmae.simulation.render import STAMP
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import HSC_WIDE


def test_noise_has_the_power_that_is_said_of_it():
    n, bands = 200, len(HSC_WIDE.bands)
    nothing, nowhere = np.zeros(0), np.zeros(0, dtype=np.int64)
    dark = Sources(nowhere, *[nothing] * 6, np.zeros((0, bands)))
    none = Clumps(nowhere, nothing, nothing, nothing, np.zeros((0, bands)))
    patch = np.zeros(n, dtype=np.int64)
    images = expose(np.random.default_rng(3), HSC_WIDE, dark, none, patch, "cpu")
    images = images / sky_noise(HSC_WIDE, patch)[:, :, None, None]
    power = torch.fft.fft2(torch.from_numpy(images)).abs().square().mean((0, 1)) / STAMP**2
    expected = noise_power(STAMP)
    assert abs(float(expected.mean()) - 1.0) < 1e-3
    # A periodogram of a stamp with edges, averaged over 1,000: 3 % noise, and a little leakage.
    slow = expected > 0.3
    np.testing.assert_allclose(power[slow], expected[slow], rtol=0.25)
    assert abs(float((power[slow] / expected[slow]).mean()) - 1.0) < 0.03
