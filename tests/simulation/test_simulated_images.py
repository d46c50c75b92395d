"""Rendering of the mock survey against GalSim, and the noise against the published statistics."""

import numpy as np
import pytest
from benchmark_files import load_benchmark
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.simulation.observe import flux_error, simulate_chunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP, Psfs, render
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT

FWHM = 4.2  # pixels
NO_CLUMPS = Clumps(np.zeros(0, dtype=np.int64), *np.zeros((3, 0)), np.zeros((0, 1)))
ROUND = Psfs(np.array([[FWHM]]), np.array([[1.0]]), np.array([[0.0]]))


def image_of(radius, index=1.0, ratio=1.0, angle=0.0, dx=0.0, dy=0.0, flux=100.0):
    centre = (STAMP - 1) / 2
    one = np.ones(1)
    source = Sources(
        stamp=np.zeros(1, dtype=np.int64),
        x=centre + dx * one,
        y=centre + dy * one,
        radius=radius * one,
        index=index * one,
        ratio=ratio * one,
        angle=angle * one,
        flux=flux * np.ones((1, 1)),
    )
    return render(source, NO_CLUMPS, 1, ROUND, np.zeros(1, dtype=np.int64))[0, 0].numpy()


@pytest.fixture(scope="module")
def rendering():
    pytest.importorskip("galsim", reason="galsim is not installed")
    return load_benchmark("rendering")


def test_galaxies_of_the_population_look_as_galsim_draws_them(rendering):
    flux, residual = rendering.compare(rendering.draw_stamps(40, seed=3), band=2)
    assert np.abs(flux).max() < 0.01
    assert residual.max() < 1e-3


@pytest.mark.parametrize(
    ("radius", "index", "ratio", "angle", "dx", "dy"),
    [
        (6.0, 1.0, 0.5, 0.3, 0.3, -0.2),
        (2.0, 2.53, 0.9, 2.0, 0.4, 0.4),
        (0.4, 1.0, 0.7, 0.5, 10.0, -20.0),  # a neighbour
        (19.0, 1.0, 0.2, 0.0, 0.3, -0.2),  # the largest in a small box: thin ...
        (23.9, 4.0, 0.6, 1.2, 0.3, -0.2),  # ... and with the most light beyond it
        (26.0, 4.0, 0.7, 0.5, 0.0, 0.0),
        (30.0, 1.0, 0.4, 0.5, 0.0, 0.0),
    ],
)
def test_any_galaxy_looks_as_galsim_draws_it(rendering, radius, index, ratio, angle, dx, dy):
    import galsim

    ours = image_of(radius, index, ratio, angle, dx, dy)
    galaxy = galsim.Sersic(
        n=index, half_light_radius=radius * np.sqrt(ratio), flux=100.0, gsparams=rendering.TIGHT
    )
    galaxy = galaxy.shear(q=ratio, beta=angle * galsim.radians).shift(dx, dy)
    psf = galsim.Moffat(beta=3, fwhm=FWHM, gsparams=rendering.TIGHT)
    theirs = galsim.Convolve(galaxy, psf).drawImage(nx=STAMP, ny=STAMP, scale=1).array
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.max()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.01)


def test_clumps_look_as_galsim_draws_them(rendering):
    import galsim

    nothing = Sources(np.zeros(0, dtype=np.int64), *np.zeros((6, 0)), np.zeros((0, 1)))
    row = np.zeros(2, dtype=np.int64)
    x, y, sigma = np.array([30.2, 40.0]), np.array([33.7, 20.5]), np.array([0.3, 2.0])
    flux = np.array([100.0, 40.0])
    clumps = Clumps(row, x, y, sigma, flux[:, None])
    ours = render(nothing, clumps, 1, ROUND, row[:1])[0, 0].numpy()
    spots = [
        galsim.Gaussian(sigma=s, flux=f).shift(a - 31.5, b - 31.5)
        for a, b, s, f in zip(x, y, sigma, flux, strict=True)
    ]
    psf = galsim.Moffat(beta=3, fwhm=FWHM, gsparams=rendering.TIGHT)
    theirs = galsim.Convolve(galsim.Sum(spots), psf).drawImage(nx=STAMP, ny=STAMP, scale=1).array
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.max()


def test_a_point_is_the_psf():
    image = image_of(0.0)
    assert image.sum() == pytest.approx(100.0, rel=0.01)
    # Half of the peak at half of the width, between pixels 31 and 32 of the centre.
    profile = image[31:33].mean(axis=0)
    x = np.arange(STAMP) - 31.5
    half = np.interp(FWHM / 2, x[32:], profile[32:]) / np.interp(0.5, x[32:], profile[32:])
    assert half == pytest.approx(0.53, abs=0.04)


@settings(max_examples=30, deadline=None)
@given(
    radius=st.floats(0.0, 5.0),
    index=st.floats(0.5, 1.5),
    ratio=st.floats(0.2, 1.0),
    angle=st.floats(0.0, 3.1),
    dx=st.floats(-8.0, 8.0),
    dy=st.floats(-8.0, 8.0),
)
def test_flux_and_centroid_are_kept(radius, index, ratio, angle, dx, dy):
    image = image_of(radius, index, ratio, angle, dx, dy).astype(np.float64)
    assert image.sum() == pytest.approx(100.0, rel=0.02)
    y, x = np.indices(image.shape) - (STAMP - 1) / 2
    # Moffat wings are cut unevenly off centre, so the centroid lags a little behind.
    assert (image * x).sum() / image.sum() == pytest.approx(dx, abs=0.15)
    assert (image * y).sum() / image.sum() == pytest.approx(dy, abs=0.15)


@pytest.fixture(scope="module")
def chunk():
    return simulate_chunk(Recipe(HSC_WIDE, 9), 300, chunk=0)


def test_negative_pixels_scatter_as_published(chunk):
    for band, published in enumerate(HSC_WIDE.negative_std):
        pixels = chunk.images[:, band]
        assert pixels[pixels < 0].std() == pytest.approx(published, rel=0.05)


def test_noise_is_correlated_between_neighbouring_pixels(chunk):
    # In a corner of faint stamps, mostly sky; y is the noisiest band.
    sky = chunk.images[:, 4, :12, :12]
    sky = sky[np.abs(sky).max(axis=(1, 2)) < 1.0].astype(np.float64)
    assert len(sky) > 50
    sky -= sky.mean(axis=(1, 2), keepdims=True)
    beside = (sky[:, :, 1:] * sky[:, :, :-1]).mean() / (sky**2).mean()
    apart = (sky[:, :, 5:] * sky[:, :, :-5]).mean() / (sky**2).mean()
    assert 0.2 < beside < 0.4
    assert abs(apart) < 0.1


def test_truth_magnitudes_are_those_of_the_pixels(chunk):
    points = chunk.morphtype == b"PSF"
    assert points.sum() > 20
    y, x = np.indices((STAMP, STAMP)) - (STAMP - 1) / 2
    aperture = np.hypot(x, y) * HSC_WIDE.pixel_scale < 1.5
    flux = chunk.images[points][:, :, aperture].sum(axis=-1)
    difference = ZERO_POINT - 2.5 * np.log10(np.maximum(flux, 1e-3)) - chunk.mag[points]
    # The PSF's wings beyond 1.5" hold some per cent; neighbours give a little back.
    assert np.all(np.abs(np.median(difference[:, :4], axis=0)) < 0.08)


def test_measured_magnitudes_scatter_about_the_truth_by_the_error_an_observer_states(chunk):
    difference = chunk.cmodel_mag[:, 2] - chunk.mag[:, 2]
    assert 0.01 < 1.4826 * np.median(np.abs(difference)) < 0.06
    assert abs(np.median(difference)) < 0.01
    true, measured = (10 ** (-0.4 * (m - ZERO_POINT)) for m in (chunk.mag, chunk.cmodel_mag))
    scaled = (measured - true) / flux_error(chunk.sky_noise, measured)
    assert scaled.std(axis=0) == pytest.approx(np.ones(5), abs=0.15)


def test_spectra_scatter_by_their_stated_inverse_variance(chunk):
    # Galaxies without strong lines: beside the noise, adjacent pixels are nearly alike.
    smooth = chunk.kind == "LRG"
    curvature = chunk.flux[smooth, :-2] - 2 * chunk.flux[smooth, 1:-1] + chunk.flux[smooth, 2:]
    variance = 1 / chunk.ivar[smooth]
    expected = variance[:, :-2] + 4 * variance[:, 1:-1] + variance[:, 2:]
    scaled = curvature / np.sqrt(expected)
    assert 1.4826 * np.median(np.abs(scaled)) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize(("kind", "low", "high"), [("BGS", 6, 13), ("LRG", 2, 5), ("QSO", 2.5, 7)])
def test_median_signal_to_noise_of_spectra(chunk, kind, low, high):
    mine = chunk.kind == kind
    ratio = np.median(chunk.flux[mine] * np.sqrt(chunk.ivar[mine]), axis=1)
    assert low < np.median(ratio) < high
