"""Clumps of young stars: where the disk is, as bright as they should be, blue."""

import numpy as np
import pytest

from photoz_mmae.simulation import population
from photoz_mmae.simulation.observe import light_of
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP, Psfs, render
from photoz_mmae.simulation.scene import place
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import HSC_WIDE

NO_SOURCES = Sources(np.zeros(0, dtype=np.int64), *np.zeros((6, 0)), np.zeros((0, 1)))


def test_a_clump_looks_as_galsim_draws_it():
    galsim = pytest.importorskip("galsim", reason="galsim is not installed")
    psf = Psfs(np.array([[4.2]]), np.array([[1.0]]), np.array([[0.0]]))
    clump = Clumps(
        np.zeros(2, dtype=np.int64),
        x=np.array([31.5 + 7.3, 31.5]),
        y=np.array([31.5 - 4.6, 31.5]),
        sigma=np.array([1.5, 0.2]),
        flux=np.array([[60.0], [40.0]]),
    )
    ours = render(NO_SOURCES, clump, 1, psf, np.zeros(1, dtype=np.int64))[0, 0].numpy()
    light = galsim.Gaussian(sigma=1.5, flux=60.0).shift(7.3, -4.6)
    light += galsim.Gaussian(sigma=0.2, flux=40.0)
    seen = galsim.Convolve(light, galsim.Moffat(beta=3, fwhm=4.2))
    theirs = seen.drawImage(nx=STAMP, ny=STAMP, scale=1).array
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.max()


@pytest.fixture(scope="module")
def placed():
    rng = np.random.default_rng(12)
    targets = population.draw_targets(rng, 400, Recipe(HSC_WIDE, 12))
    parts = light_of(targets, HSC_WIDE).parts
    own, clumps, _ = place(
        rng, HSC_WIDE, targets.galaxies, parts, np.zeros((400, 2)), np.ones((400, 5))
    )
    return targets, parts, own, clumps


def test_clumps_take_their_light_from_the_disk(placed):
    targets, parts, own, clumps = placed
    total = np.zeros((400, 5))
    np.add.at(total, clumps.stamp, clumps.flux)
    np.add.at(total, own.stamp, own.flux)
    np.testing.assert_allclose(total, np.sum(parts, axis=0), rtol=1e-6)
    assert np.all(clumps.flux >= 0)
    assert not np.isin(clumps.stamp, np.flatnonzero(targets.galaxies.red)).any()


def test_clumps_are_bluer_than_their_disks(placed):
    _, parts, _, clumps = placed
    light = np.zeros((400, 5))
    np.add.at(light, clumps.stamp, clumps.flux)
    has = light[:, 2] > 1e-3 * parts[1][:, 2]
    assert has.sum() > 50
    bluer = (light[has, 0] / light[has, 2]) / (parts[1][has, 0] / parts[1][has, 2])
    assert np.mean(bluer > 1.0) > 0.95
    assert np.median(bluer) > 1.2


def test_clumps_lie_on_the_disk(placed):
    targets, _, _, clumps = placed
    radius = np.hypot(clumps.x - 31.5, clumps.y - 31.5) * HSC_WIDE.pixel_scale
    relative = radius / targets.galaxies.disk_radius[clumps.stamp]
    assert relative.max() <= 3.0 + 1e-6
    assert 0.4 < np.median(relative) < 1.1
