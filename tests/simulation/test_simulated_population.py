"""Who is in the mock survey."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from photoz_mmae.simulation import population
from photoz_mmae.simulation.field import draw_field
from photoz_mmae.simulation.observe import CHUNK, object_ids, simulate_chunk
from photoz_mmae.simulation.population import BGS, ELG, LRG, QSO
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE

PUBLISHED = Path(__file__).resolve().parents[2] / "../shared/data/published"


@pytest.fixture(scope="module")
def targets():
    return population.draw_targets(np.random.default_rng(3), 20_000, Recipe(HSC_WIDE, 3))


def test_redshifts_are_distributed_as_published(targets):
    path = PUBLISHED / "mmae_image_only_25pct_mask.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with path.open() as file:
        published = np.array([float(row["y_test"]) for row in csv.DictReader(file)])
    z = targets.galaxies.z
    assert ks_2samp(z, published).statistic < 0.02
    assert np.mean(z > 1.5) == pytest.approx(np.mean(published > 1.5), abs=0.01)


def test_classes_live_where_they_should(targets):
    z, kind = targets.galaxies.z, targets.kind
    assert z.min() >= 0.01
    assert z.max() <= 4.0
    assert set(kind[z > 1.7]) == {QSO}
    assert z[kind == BGS].max() < 0.75
    assert z[kind == LRG].min() > 0.3
    assert z[kind == LRG].max() < 1.25
    assert z[kind == ELG].max() < 1.66
    shares = np.bincount(kind, minlength=4) / len(kind)
    assert shares[BGS] > 0.5
    assert shares[LRG] > 0.1
    assert shares[ELG] > 0.02
    assert 0.1 < shares[QSO] < 0.2


def test_shares_of_templates_sum_to_one(targets):
    for part in (targets.galaxies.bulge, targets.galaxies.disk):
        np.testing.assert_allclose(part.share.sum(axis=1), 1.0)
        assert part.share.min() >= 0.0


def test_brighter_galaxies_are_larger_and_redder(targets):
    z, kind, mag = targets.galaxies.z, targets.kind, targets.galaxies.mag
    slice_ = (kind == BGS) & (z > 0.18) & (z < 0.25)
    bright = slice_ & (mag < np.quantile(mag[slice_], 0.3))
    faint = slice_ & (mag > np.quantile(mag[slice_], 0.7))
    size = targets.galaxies.disk_radius
    assert np.median(size[bright]) > 1.3 * np.median(size[faint])
    assert targets.galaxies.bulge_share[bright].mean() > targets.galaxies.bulge_share[faint].mean()


def test_field_galaxies_grow_in_number_towards_the_faint():
    field = draw_field(np.random.default_rng(4), 20_000, HSC_WIDE, 25.5)
    counts, _ = np.histogram(field.mag, bins=np.arange(20.0, 25.6, 1.0))
    slopes = np.diff(np.log10(counts))
    assert np.all(np.abs(slopes - 0.33) < 0.1)
    assert len(draw_field(np.random.default_rng(4), 0, HSC_WIDE, 25.5)) == 0


def test_red_galaxies_of_the_survey_redden_with_redshift():
    chunks = [simulate_chunk(Recipe(HSC_WIDE, 5), CHUNK, number) for number in range(2)]
    z = np.concatenate([chunk.redshift for chunk in chunks])
    mag = np.concatenate([chunk.mag for chunk in chunks])
    ebv = np.concatenate([chunk.ebv for chunk in chunks])
    kind = np.concatenate([chunk.kind for chunk in chunks])
    mag = mag - ebv[:, None] * np.array(HSC_WIDE.extinction)
    colour = mag[:, 0] - mag[:, 1]

    def reddest(low, high):
        return np.quantile(colour[(kind == "BGS") & (z > low) & (z < high)], 0.85)

    assert reddest(0.05, 0.12) + 0.3 < reddest(0.2, 0.28) < reddest(0.32, 0.42) - 0.1


@pytest.mark.parametrize("seed", range(12))
def test_one_object_is_a_survey_too(seed):
    chunk = simulate_chunk(Recipe(HSC_WIDE, seed), 1, 0)
    assert chunk.images.shape == (1, 5, 64, 64)
    assert not chunk.damage
    for name, values in vars(chunk).items():
        if name == "damage":
            continue
        assert values.dtype.kind != "f" or np.isfinite(values).all(), name


def test_a_chunk_depends_on_seed_and_number_alone():
    first, again, other, next_ = (
        simulate_chunk(Recipe(HSC_WIDE, seed), 20, chunk)
        for seed, chunk in ((1, 0), (1, 0), (2, 0), (1, 1))
    )
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for different in (other, next_):
        assert not np.intersect1d(first.redshift, different.redshift).size
        assert not np.intersect1d(first.object_id, different.object_id).size


def test_ids_are_unique_over_a_survey():
    ids = np.concatenate([object_ids(7, first, CHUNK) for first in range(0, 5 * CHUNK, CHUNK)])
    assert len(np.unique(ids)) == len(ids)
    assert {len(str(number)) for number in ids} == {17}
    assert not np.intersect1d(ids, object_ids(8, 0, CHUNK)).size
