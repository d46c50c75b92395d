"""Objects at the place of another id: against every pair looked at."""

from unittest import mock

import numpy as np
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.survey_run import same_sky as module
from photoz_mmae.survey_run.same_sky import same_sky

ARCSEC = 1 / 3600

# Places on a coarse grid of 0.2 arcsec, so that many are near each other and many the same.
_PLACES = st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(0, 3))


@settings(max_examples=60)
@given(places=st.lists(_PLACES, max_size=25), pole=st.booleans(), block=st.integers(1, 30))
def test_against_every_pair(places, pole, block):
    x, y, ids = np.array(places, int).reshape(-1, 3).T
    # Across the meridian; or around the pole, where right ascensions mean little.
    dec = 89.9999 - y * 0.2 * ARCSEC if pole else -1.0 + y * 0.2 * ARCSEC
    ra = (x * 30.0 if pole else (x - 6) * 0.2 * ARCSEC) % 360
    with mock.patch.object(module, "BLOCK", block):
        found = same_sky(ra, dec, ids)
    sky = SkyCoord(ra, dec, unit="deg")
    for n in range(len(places)):
        others = sky[ids != ids[n]]
        nearest = min(sky[n].separation(others).arcsec, default=9.0)
        if abs(nearest - 0.5) > 1e-6:
            assert found[n] == (nearest < 0.5)


def test_unknown_places_are_near_nothing():
    ra = np.array([np.nan, np.nan, 10.0, 10.0, 10.0, np.nan])
    dec = np.array([1.0, np.nan, 1.0, 1.0, np.nan, 1.0])
    found = same_sky(ra, dec, np.arange(6))
    assert found.tolist() == [False, False, True, True, False, False]
    assert same_sky(np.zeros(0), np.zeros(0), np.zeros(0, int)).tolist() == []


def test_a_crowd_at_one_place():
    """Memory does not grow with the square of what shares a place."""
    many = 200_000
    ids = np.arange(many) // 2
    assert same_sky(np.zeros(many), np.zeros(many), ids).all()
    assert not same_sky(np.zeros(many), np.zeros(many), np.zeros(many, int)).any()
