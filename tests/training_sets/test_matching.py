"""Weights by the density ratio of colours and magnitudes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.errors import InputError
from photoz_mmae.training_sets.matching import MAX_WEIGHT, match, target_magnitudes


def sample(rng, n, low=18.0, high=24.0, colour=0.0):
    """Magnitudes (n, 3), even in i, with two independent colours."""
    i = rng.uniform(low, high, n)
    r = i + 0.5 + colour + rng.normal(0, 0.3, n)
    g = r + 0.8 + colour + rng.normal(0, 0.3, n)
    return np.stack([g, r, i], axis=1)


def test_weighted_sample_looks_like_the_target():
    rng = np.random.default_rng(1)
    source = sample(rng, 6000)
    target = sample(rng, 4000)
    # Fainter ones more often, and redder ones.
    share = ((target[:, 2] - 18) / 6) ** 2 / (1 + np.exp(-8 * (target[:, 0] - target[:, 2] - 1.3)))
    target = target[rng.random(len(target)) < share]
    matched = match(source, target)
    colour, wanted = source[:, 0] - source[:, 2], target[:, 0] - target[:, 2]
    for values, goal in ((source[:, 2], target[:, 2]), (colour, wanted)):
        assert abs(values.mean() - goal.mean()) > 0.2
        assert np.average(values, weights=matched.weights) == pytest.approx(goal.mean(), abs=0.04)
        spread = np.sqrt(np.average((values - goal.mean()) ** 2, weights=matched.weights))
        assert spread == pytest.approx(goal.std(), rel=0.1)
    assert matched.outside < 0.05
    assert 1000 < matched.effective < 5000


@given(st.integers(0, 1000), st.integers(40, 300), st.integers(3, 300))
def test_weights_are_normalised_and_capped(seed, n, m):
    rng = np.random.default_rng(seed)
    source = sample(rng, n)
    source[rng.random(n) < 0.1] = np.nan
    try:
        matched = match(source, sample(rng, m, low=22))
    except InputError as error:
        assert "no target object" in str(error)
        return
    positive = matched.weights[matched.weights > 0]
    assert positive.mean() == pytest.approx(1)
    assert positive.max() <= MAX_WEIGHT * 1.001
    assert (matched.weights[np.isnan(source).any(axis=1)] == 0).all()
    assert 1 <= matched.effective <= len(positive) + 1e-6


def test_the_same_sample_needs_no_weights():
    source = sample(np.random.default_rng(2), 3000)
    matched = match(source, source)
    assert matched.weights.std() < 0.05
    assert matched.outside < 0.02


def test_target_beyond_the_training_sample_is_said():
    rng = np.random.default_rng(3)
    target = np.concatenate([sample(rng, 700), sample(rng, 300, low=28, high=30)])
    assert match(sample(rng, 3000), target).outside == pytest.approx(0.3, abs=0.03)


def test_nothing_in_common():
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match="no target object has colours and magnitude"):
        match(sample(rng, 300), sample(rng, 300, low=34, high=36))


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_magnitudes_from_a_table(tmp_path, kind):
    from astropy.table import Table

    table = Table({"mag_g": [20.0, 21.0], "i_cmodel_mag": [19.0, 20.0], "flux_y": [100.0, -1.0]})
    path = tmp_path / f"t.{kind}"
    table.write(path)
    found = target_magnitudes(path, ("g", "r", "i", "z", "y"))
    assert list(found) == ["g", "i", "y"]
    assert found["g"].tolist() == [20, 21]
    assert found["y"][0] == pytest.approx(26.4)
    assert np.isnan(found["y"][1])


@pytest.mark.parametrize("fill", [99.0, -99.0, -999.0, 4.9])
def test_what_stands_for_no_magnitude_is_missing(fill):
    rng = np.random.default_rng(4)
    source, target = sample(rng, 300), sample(rng, 200)
    expected = match(source[30:], target[20:])
    source[:30, 0], target[:20, 2] = fill, fill
    matched = match(source, target)
    assert not matched.weights[:30].any()
    np.testing.assert_array_equal(matched.weights[30:], expected.weights)
    assert matched.outside == expected.outside


def test_fluxes_of_predict_are_refused(tmp_path):
    """They are of apertures; the training file's magnitudes are total ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"flux_g": [1.0, 2.0], "flux_i": [1.0, 2.0]})
    metadata = {"photoz_mmae.schema_version": "1"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    with pytest.raises(InputError, match='by `predict` are of apertures of 2"; give --match-to'):
        target_magnitudes(tmp_path / "t.parquet", ("g", "r", "i"))


def test_table_without_magnitudes(tmp_path):
    (tmp_path / "t.csv").write_text("mag_u,redshift\n1,2\n")
    with pytest.raises(InputError, match="it has none"):
        target_magnitudes(tmp_path / "t.csv", ("g", "r"))
    with pytest.raises(InputError, match="no such file"):
        target_magnitudes(tmp_path / "absent.csv", ("g", "r"))
