"""What a recipe decides: selection, stars, Galactic dust."""

import numpy as np
import pytest

from photoz_mmae.cli.main import main
from photoz_mmae.errors import UsageError
from photoz_mmae.simulation.observe import CHUNK, simulate_chunk
from photoz_mmae.simulation.pointing import PATCH, draw_ebv
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT

EXTINCTION = np.array(HSC_WIDE.extinction)


@pytest.mark.parametrize(
    "selection",
    ["bright", "magnitude", "magnitude:", "magnitude:x", "magnitude:30", "desi:22", "desi,bright"],
)
def test_an_unknown_selection_is_refused(selection, tmp_path, capfd):
    with pytest.raises(UsageError, match="magnitude:LIMIT"):
        Recipe(HSC_WIDE, 1, selection=selection)
    output = tmp_path / "mock.hdf5"
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "-n", "2", "--selection", selection, "-o", str(output)])
    assert stop.value.code == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_magnitude_limit_is_kept_before_galactic_dust():
    mock = simulate_chunk(Recipe(HSC_WIDE, 2, selection="magnitude:21.5"), CHUNK, 0)
    intrinsic = mock.mag[:, 2] - mock.ebv * EXTINCTION[2]
    assert intrinsic.max() <= 21.5 + 1e-6
    assert np.quantile(intrinsic, 0.9) > 21.0
    assert set(mock.kind) == {"GAL"}
    assert 0.2 < np.median(mock.redshift) < 0.6


def test_several_selections_take_turns():
    both = Recipe(HSC_WIDE, 2, selection="desi,magnitude:21.5")
    assert both.kinds == {"galaxy", "qso"}
    for chunk, alone in enumerate(("desi", "magnitude:21.5", "desi")):
        mixed = simulate_chunk(both, 40, chunk)
        single = simulate_chunk(Recipe(HSC_WIDE, 2, selection=alone), 40, chunk)
        np.testing.assert_array_equal(mixed.images, single.images)
        assert ("GAL" in mixed.kind) == (alone != "desi")


def test_stars_are_points_without_redshift():
    mock = simulate_chunk(Recipe(HSC_WIDE, 3, fraction_stars=0.3), CHUNK, 0)
    star = mock.kind == "STAR"
    assert star.mean() == pytest.approx(0.3, abs=0.06)
    assert set(mock.morphtype[star]) == {b"PSF"}
    assert np.abs(mock.redshift[star]).max() < 1e-3
    # Half of the flux of a point is inside the PSF's half-light radius (beta 3: 0.64 FWHM).
    y, x = np.indices(mock.images.shape[2:]) - 31.5
    radius = np.hypot(x - mock.offset[:, 0, None, None], y - mock.offset[:, 1, None, None])
    inside = radius * HSC_WIDE.pixel_scale < 0.64 * mock.psf_fwhm[:, 2, None, None]
    half = (mock.images[:, 2] * inside).sum(axis=(1, 2))
    total = 10 ** (-0.4 * (mock.mag[:, 2] - ZERO_POINT))
    bright = star & (mock.mag[:, 2] < 21)
    assert bright.sum() > 30
    assert np.median((half / total)[bright]) == pytest.approx(0.5, abs=0.08)


def test_without_stars_nobody_is_one():
    assert "STAR" not in simulate_chunk(Recipe(HSC_WIDE, 3), CHUNK, 0).kind


def test_a_given_reddening_changes_nothing_but_the_light():
    clear, dusty = (simulate_chunk(Recipe(HSC_WIDE, 4, ebv=ebv), 60, 0) for ebv in (0.0, 0.15))
    np.testing.assert_array_equal(clear.redshift, dusty.redshift)
    np.testing.assert_array_equal(clear.offset, dusty.offset)
    np.testing.assert_array_equal(clear.ra, dusty.ra)
    dimming = np.broadcast_to(0.15 * EXTINCTION, clear.mag.shape)
    np.testing.assert_allclose(dusty.mag - clear.mag, dimming, atol=1e-9)
    # Bright pixels are dimmed as the magnitudes are, whatever the noise adds.
    bright = clear.images[:, 0] > 30 * HSC_WIDE.negative_std[0]
    ratio = np.median(dusty.images[:, 0][bright] / clear.images[:, 0][bright])
    assert ratio == pytest.approx(10 ** (-0.4 * dimming[0, 0]), rel=0.01)


def test_galactic_dust_is_between_0_and_0_3():
    ebv = draw_ebv(np.random.default_rng(1), 20_000)
    assert ebv.min() > 0
    assert ebv.max() <= 0.3
    assert 0.02 < np.median(ebv) < 0.05
    assert np.mean(ebv > 0.15) > 0.01


def test_stamps_of_one_patch_share_their_seeing():
    mock = simulate_chunk(Recipe(HSC_WIDE, 5), CHUNK, 0)
    patch = np.floor(mock.ra / PATCH) * 1000 + np.floor((mock.dec + 90) / PATCH)
    _, first, counts = np.unique(patch, return_index=True, return_counts=True)
    several = np.flatnonzero(counts > 1)
    assert len(several)
    for one in several:
        mine = mock.psf_fwhm[patch == patch[first[one]]]
        assert np.ptp(mine, axis=0).max() == 0
    assert len(np.unique(mock.psf_fwhm[:, 0])) > 50
    assert np.median(mock.psf_fwhm, axis=0) == pytest.approx(HSC_WIDE.seeing, rel=0.05)
