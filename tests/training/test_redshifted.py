"""Objects moved in redshift as their spectra say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.spectra.grid import pooled_wave
from photoz_mmae.surveys import PASSBANDS
from photoz_mmae.training.redshifted import FARTHEST, Redshifter, draw_shifts
from photoz_mmae.training_sets.training_set import UNKNOWN_KIND, TrainingBatch

BANDS = ("g", "r", "i", "z", "y")
WAVE = pooled_wave()


def batch_of(flux, redshift=0.5):
    """Objects of a flat image with these spectra, (N, 259), without noise."""
    flux = np.atleast_2d(flux)
    flux = flux / flux.mean(axis=1, keepdims=True)
    n = len(flux)
    return TrainingBatch(
        image=torch.ones(n, 5, 64, 64),
        measured=torch.ones(n, 5, dtype=torch.bool),
        flux=torch.tensor(flux, dtype=torch.float32),
        ivar=torch.full(flux.shape, 100.0),
        has_spectrum=torch.ones(n, dtype=torch.bool),
        redshift=torch.full((n,), redshift),
        has_redshift=torch.ones(n, dtype=torch.bool),
        weight=torch.ones(n),
        ebv=torch.zeros(n),
        psf_fwhm=torch.full((n, 5), torch.nan),
        kind=torch.full((n,), UNKNOWN_KIND),
    )


@given(
    slope=st.floats(-2.5, 2.5),
    shift=st.floats(-FARTHEST, FARTHEST),
)
def test_a_power_law_has_the_same_colours_at_any_redshift(slope, shift):
    """Whatever lies beyond the spectrum's ends goes on as the power law it is."""
    batch = batch_of((WAVE / 6000) ** slope)
    moved = Redshifter(BANDS).move(batch, torch.tensor([shift]))
    torch.testing.assert_close(moved.image, batch.image, rtol=0.01, atol=0)
    assert moved.redshift.item() == pytest.approx(1.5 * np.exp(shift) - 1, rel=1e-5)


def test_a_break_that_leaves_a_band_changes_its_colour_by_what_leaves_it():
    """Twice the light redward of the blue edge of i: moved redward, i holds less of it."""
    low, high = PASSBANDS["i"]
    batch = batch_of(np.where(low + 400 < WAVE, 2.0, 1.0))
    shift = 0.03
    ratio = Redshifter(BANDS).move(batch, torch.tensor([shift])).image[0, :, 0, 0].numpy()

    def photons(low, high, edge):
        return low**2 * -1 + edge**2 + 2 * (high**2 - edge**2)

    edge = low + 400
    kept = photons(low, high, edge * np.exp(shift)) / photons(low, high, edge)
    # g and z hold none of the break: a flat spectrum's photons go as the band's width squared.
    assert ratio[0] == pytest.approx(1 / kept, rel=0.01)
    assert ratio[3] == pytest.approx(1 / kept, rel=0.01)
    assert ratio[2] == 1.0


def test_a_line_moves_with_the_redshift_and_its_noise_with_it():
    flux = 1 + 5 * np.exp(-(((WAVE - 6000) / 50) ** 2))
    batch = batch_of(flux)
    batch.ivar[:, 40:60] = 0
    moved = Redshifter(BANDS).move(batch, torch.tensor([0.04]))
    assert WAVE[moved.flux[0].argmax()] == pytest.approx(6000 * np.exp(0.04), abs=24)
    invalid = WAVE[np.flatnonzero(moved.ivar[0] == 0)]
    inside = invalid[(invalid > WAVE[10]) & (invalid < WAVE[-1])]
    assert inside.min() == pytest.approx(WAVE[40] * np.exp(0.04), abs=48)
    assert inside.max() == pytest.approx(WAVE[59] * np.exp(0.04), abs=48)
    # Nothing was measured blueward of the first pixel.
    assert (moved.ivar[0][np.exp(0.04) * WAVE[0] - 1 > WAVE] == 0).all()


def test_objects_without_spectrum_or_redshift_and_those_not_drawn_stay_as_they_are():
    flux = np.random.default_rng(0).normal(1, 0.3, (4, 259))
    batch = batch_of(flux)
    batch.has_spectrum[0] = False
    batch.has_redshift[1] = False
    moved = Redshifter(BANDS).move(batch, torch.tensor([0.02, 0.02, 0.0, 0.02]))
    for name, before in vars(batch).items():
        after = getattr(moved, name)
        assert torch.equal(after[:3].nan_to_num(-1.0), before[:3].nan_to_num(-1.0)), name
    assert not torch.equal(moved.image[3], batch.image[3])
    assert not torch.equal(moved.flux[3], batch.flux[3])


def test_nothing_comes_nearer_than_redshift_0_and_noise_makes_no_wild_colours():
    flux = np.random.default_rng(1).normal(0, 5, (50, 259)) + 0.01
    batch = batch_of(flux, redshift=0.01)
    moved = Redshifter(BANDS).move(batch, torch.full((50,), -0.05))
    assert (moved.redshift >= 0).all()
    assert moved.image.isfinite().all()
    assert (moved.image >= 0.5).all()
    assert (moved.image <= 2.0).all()


def test_half_of_the_objects_are_moved_the_same_ones_for_a_seed():
    first, again = (
        draw_shifts(1000, 0.015, 0.5, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert 0.4 < (first != 0).float().mean() < 0.6
    assert first[first != 0].std() == pytest.approx(0.015, rel=0.1)
