"""Spectra and band fluxes of the mock survey against independent photometry and known physics."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.errors import UsageError
from photoz_mmae.simulation import igm, sed
from photoz_mmae.simulation.sed import N_COMPONENTS, N_WARP, WAVE, GalaxySeds, QuasarSeds, get_model
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT

STEP = 4e-4


def galaxies(share, ebv=0.0, metallicity=8.6, line_boost=1.0):
    n = len(share)
    return GalaxySeds(
        share=np.asarray(share, dtype=float),
        ebv=np.full(n, ebv),
        dust_slope=np.zeros(n),
        metallicity=np.full(n, metallicity),
        line_boost=np.full(n, line_boost),
        warp=np.zeros((n, N_WARP)),
    )


def pure(component, n):
    return np.tile(np.eye(N_COMPONENTS)[component], (n, 1))


def colours(component, z):
    model = get_model(HSC_WIDE, STEP)
    rest = model.galaxies(galaxies(pure(component, len(z))))
    mag = -2.5 * np.log10(model.band_fluxes(model.observe(rest, z)))
    return mag[:, :-1] - mag[:, 1:]


@pytest.fixture(scope="module")
def speclite_filters():
    filters = pytest.importorskip("speclite.filters", reason="speclite is not installed")
    return filters.load_filters(*HSC_WIDE.filters)


@pytest.mark.parametrize("step", [STEP, 4 * STEP])
def test_band_fluxes_are_those_of_speclite(speclite_filters, step):
    model = get_model(HSC_WIDE, step)
    z = np.array([0.03, 0.2, 0.5, 0.9, 1.4])
    rest = model.galaxies(galaxies(np.eye(N_COMPONENTS), ebv=0.1))
    observed = model.observe(rest, z)
    ours = model.band_fluxes(observed)
    for row in range(len(z)):
        theirs = speclite_filters.get_ab_maggies(
            observed[row].numpy().astype(np.float64) * 1e-17, model.observed
        )
        expected = np.array([theirs[name][0] for name in HSC_WIDE.filters])
        expected *= 10 ** (0.4 * ZERO_POINT)
        np.testing.assert_allclose(ours[row], expected, rtol=0.004)


def test_quasar_fluxes_are_those_of_speclite(speclite_filters):
    model = get_model(HSC_WIDE, STEP)
    z = np.array([0.8, 2.2, 3.4])
    boost = np.ones((3, len(sed.lines.QUASAR_LINES)))
    seds = QuasarSeds(np.full(3, -1.56), np.zeros(3), boost, np.zeros((3, N_WARP)))
    observed = model.observe(model.quasars(seds), z)
    ours = model.band_fluxes(observed)
    theirs = speclite_filters.get_ab_maggies(
        observed.numpy().astype(np.float64) * 1e-17, model.observed
    )
    expected = np.stack([theirs[name] for name in HSC_WIDE.filters], axis=1)
    np.testing.assert_allclose(ours, expected * 10 ** (0.4 * ZERO_POINT), rtol=0.004)


def test_old_galaxies_redden_as_their_break_moves_through_g_and_r():
    z = np.array([0.05, 0.1, 0.2, 0.3, 0.35])
    old = colours(sed.OLD, z)
    assert np.all(np.diff(old[:, 0]) > 0.05)  # g - r
    assert 0.7 < old[1, 0] < 1.2
    assert 1.3 < old[4, 0] < 1.8
    z = np.array([0.4, 0.5, 0.6, 0.7])
    old = colours(sed.OLD, z)
    assert np.all(np.diff(old[:, 1]) > 0.05)  # r - i
    young = colours(sed.YOUNG, z)
    assert np.all(young[:, 0] < old[:, 0] - 0.5)


def test_dust_reddens():
    model = get_model(HSC_WIDE, STEP)
    z = np.array([0.3])
    fluxes = [
        model.band_fluxes(model.observe(model.galaxies(galaxies(pure(sed.AF_STARS, 1), ebv)), z))
        for ebv in (0.0, 0.3)
    ]
    dimming = -2.5 * np.log10(fluxes[1] / fluxes[0])[0]
    assert np.all(np.diff(dimming) < 0)
    # k(lambda) at the rest wavelength of g: 4800 A / 1.3.
    assert dimming[0] == pytest.approx(0.3 * sed.calzetti(np.array([4800.0 / 1.3]))[0], rel=0.05)


@pytest.mark.parametrize("z", [0.05, 0.4, 0.7])
def test_oiii_appears_where_the_redshift_says(z):
    model = get_model(HSC_WIDE, STEP)
    share = 0.5 * pure(sed.YOUNG, 1) + 0.5 * pure(sed.AF_STARS, 1)
    spectrum = model.pixels(model.observe(model.galaxies(galaxies(share, 0.0, 8.2)), np.array([z])))
    near = np.abs(WAVE - 5008.2 * (1 + z)) < 300
    peak = WAVE[near][spectrum[0, near].argmax()]
    assert abs(peak - 5008.2 * (1 + z)) <= sed.PIXEL_WIDTH


def test_lines_carry_the_flux_they_are_given():
    model = get_model(HSC_WIDE, STEP)
    share = pure(sed.YOUNG, 1)
    with_lines = model.galaxies(galaxies(share, line_boost=1.0))
    without = model.galaxies(galaxies(share, line_boost=0.0))
    flux = ((with_lines - without)[0].numpy() * model.rest * STEP).sum()
    uv = model.galaxies(galaxies(share, line_boost=0.0))[0].numpy()
    uv = np.interp(2000.0, model.rest, uv)
    expected = sed.lines.nebular_luminosities(np.array([uv]), np.zeros(1), np.array([8.6])).sum()
    assert flux == pytest.approx(expected, rel=0.02)
    halpha = list(sed.lines.NEBULAR).index("Halpha")
    each = sed.lines.nebular_luminosities(np.array([uv]), np.zeros(1), np.array([8.6]))[0]
    assert each[halpha] / each[list(sed.lines.NEBULAR).index("Hbeta")] == pytest.approx(2.86)


def test_pixels_average_the_flux_density():
    model = get_model(HSC_WIDE, STEP)
    slope = torch.from_numpy((model.observed / 6000.0).astype(np.float32))[None]
    np.testing.assert_allclose(model.pixels(slope)[0], WAVE / 6000.0, rtol=1e-3)


def test_intergalactic_medium_as_measured_at_redshift_three():
    wave = np.array([1100.0, 1300.0]) * 4.0
    forest, red_side = igm.transmission(wave, 3.0)
    assert 0.60 < forest < 0.78  # the mean forest at z = 3 (Faucher-Giguere et al. 2008: 0.68)
    assert red_side == 1.0
    # Beyond the Lyman limit absorption grows with the way it adds up over.
    near, far = igm.transmission(np.array([900.0, 850.0]) * 4.0, 3.0)
    assert far < 0.8 * near < near < forest


@settings(max_examples=50, deadline=None)
@given(z=st.floats(0.0, 4.5), more=st.floats(0.0, 0.1), wave=st.floats(3400.0, 11000.0))
def test_transmission_is_a_share_and_falls_with_redshift(z, more, wave):
    near, far = (igm.transmission(np.array([wave]), value)[0] for value in (z, z + more))
    assert 0.0 <= far <= near * 1.02 + 1e-12 <= 1.02 + 1e-9


@pytest.mark.parametrize(
    ("package", "reader"),
    [("skypy", sed.read_templates), ("speclite", lambda: sed.load_curves(HSC_WIDE))],
)
def test_a_missing_extra_is_named(monkeypatch, package, reader):
    sed.read_templates.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{package}.*photoz-mmae\[simulation\]"):
        reader()
