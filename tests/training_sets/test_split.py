"""Splits: no neighbours on two sides, whatever the sky looks like; the published one to the row."""

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.training_sets import split

RADIUS = 15.2


@st.composite
def skies(draw):
    """Clusters of objects with a few neighbours each, near the poles and at 0 h too."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    ra = draw(st.sampled_from([0.0, 150.0, 359.9]))
    dec = draw(st.sampled_from([-89.99, -0.01, 33.0, 89.9]))
    centres = np.stack([ra + rng.uniform(-3, 3, 60), dec + rng.uniform(-2, 2, 60)], axis=1)
    near = centres[rng.integers(0, 60, 40)] + rng.normal(0, 8 / 3600, (40, 2))
    sky = np.concatenate([centres, near])
    return np.stack([sky[:, 0] % 360, np.clip(sky[:, 1], -90, 90)], axis=1)


@given(skies(), st.integers(0, 5))
def test_no_stamp_shows_another_parts_target(sky, seed):
    blocks = split.sky_blocks(sky)
    if len(np.unique(blocks)) < 3:
        return
    part = split.split_blocks(blocks, 0.15, 0.15, seed)
    for block in np.unique(blocks):
        assert len(np.unique(part[blocks == block])) == 1
    assert set(part) == {split.TRAINING, split.VALIDATION, split.TEST}
    left = ~split.close_pairs(sky, part, RADIUS)
    places = SkyCoord(sky[left] * u.deg)
    first, second, _, _ = search_around_sky(places, places, RADIUS * u.arcsec)
    assert (part[left][first] == part[left][second]).all()
    np.testing.assert_array_equal(part, split.split_blocks(blocks, 0.15, 0.15, seed))


def test_neighbours_over_a_border_are_dropped_from_training_first():
    sky = np.array([[150, 2 - 1e-4], [150, 2 + 1e-4], [152, 2], [359.9999, 5], [0.0001, 5]])
    part = np.array(
        [split.TRAINING, split.TEST, split.TRAINING, split.TEST, split.VALIDATION], "i1"
    )
    assert split.close_pairs(sky, part, 1.0).tolist() == [True, False, False, False, True]
    assert not split.close_pairs(sky, part, 0.5).any()


def test_blocks_are_about_a_degree_everywhere():
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, 200_000)
    sky = np.stack([ra, np.degrees(np.arcsin(rng.uniform(-1, 1, len(ra))))], axis=1)
    blocks = split.sky_blocks(sky)
    # 41,253 square degrees on the sphere.
    assert 0.95 * 41_253 < len(np.unique(blocks)) < 41_500
    for block in np.unique(blocks)[::4000]:
        mine = SkyCoord(sky[blocks == block] * u.deg)
        assert (mine.separation(mine[0]) < 1.6 * u.deg).all()


@given(st.integers(0, 100))
def test_shares_are_kept_where_blocks_are_small(seed):
    blocks = np.random.default_rng(seed).integers(0, 300, 6000)
    part = split.split_blocks(blocks, 0.05, 0.1, seed)
    assert np.mean(part == split.VALIDATION) == pytest.approx(0.05, abs=0.005)
    assert np.mean(part == split.TEST) == pytest.approx(0.1, abs=0.005)
    assert (part != split.split_blocks(blocks, 0.05, 0.1, seed + 1)).any()


@pytest.mark.parametrize(("n", "parts"), [(2, {0, 1}), (3, {0, 1, 2})])
def test_few_blocks(n, parts):
    blocks = np.repeat(np.arange(n), 50)
    assert set(split.split_blocks(blocks, 0.05, 0.05, 0)) == parts


@given(st.integers(7, 3000))
def test_published_split_is_torchs(n):
    lengths = [int(0.7 * n), int(0.15 * n), n - int(0.7 * n) - int(0.15 * n)]
    state = torch.get_rng_state()
    torch.manual_seed(0)
    subsets = torch.utils.data.random_split(torch.arange(n), lengths)
    torch.set_rng_state(state)
    part = split.published_split(n)
    for number, subset in enumerate(subsets):
        assert set(np.flatnonzero(part == number)) == set(subset.indices)


def test_published_test_part_has_the_published_number_of_rows(shared_data):
    published = (shared_data / "published/mmae_image_only_25pct_mask.csv").read_text().splitlines()
    assert (split.published_split(134_533) == split.TEST).sum() == len(published) - 1


def test_tract_of_real_ids(shared_data):
    from astropy.table import Table

    folder = shared_data / "hsc_das_cutouts"
    tract = next(folder.glob("*-cutout-HSC-I-*")).name.split("-")[4]
    ids = Table.read(folder / "star_cat_correct.fits", character_as_bytes=False)["# object_id"]
    assert set(split.hsc_tracts(np.asarray(ids, dtype=np.int64))) == {int(tract)} == {8279}
