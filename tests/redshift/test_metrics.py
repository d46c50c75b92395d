"""Metrics against closed forms, other implementations and published numbers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from photoz_mmae.redshift import metrics
from photoz_mmae.redshift.piecewise import PiecewisePdf

errors = arrays(np.float64, st.integers(2, 40), elements=st.floats(-3, 3))


def test_hsc_loss_of_the_published_network(shared_data):
    cases = json.loads((shared_data / "reference_network/reference.json").read_text())["hsc_loss"]
    assert len(cases) == 5
    for case in cases:
        loss = metrics.hsc_loss(metrics.dz([case["z_phot"]], [case["z_spec"]]))
        # The reference was computed in single precision.
        assert loss[0] == pytest.approx(case["loss"], rel=1e-5, abs=1e-7)


def test_hsc_loss_is_one_half_at_its_width():
    assert metrics.hsc_loss(np.array([0.0, 0.15, -0.15])) == pytest.approx([0, 0.5, 0.5])


def test_dz():
    assert metrics.dz([0.6, 0.0], [0.5, 1.0]) == pytest.approx([0.1 / 1.5, -0.5])


def test_scatter_of_a_gaussian_is_its_sigma():
    error = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, 0.02, 0.03)
    assert metrics.sigma_nmad(error) == pytest.approx(0.03, rel=1e-3)
    assert metrics.sigma_iqr(error) == pytest.approx(0.03, rel=1e-3)
    assert metrics.bias_median(error) == pytest.approx(0.02, abs=1e-6)
    assert metrics.bias_mean(error) == pytest.approx(0.02, abs=1e-6)


@given(errors, st.floats(-1, 1), st.floats(0.1, 10))
def test_scatter_moves_with_scale_and_not_with_shift(error, shift, scale):
    assert metrics.sigma_nmad(scale * error + shift) == pytest.approx(
        scale * metrics.sigma_nmad(error), abs=1e-9
    )
    assert metrics.sigma_iqr(scale * error + shift) == pytest.approx(
        scale * metrics.sigma_iqr(error), abs=1e-9
    )


def test_one_object_has_no_scatter():
    result = metrics.point_metrics([0.5], [0.4]) | metrics.pit_statistics(np.array([0.3]))
    assert {name for name, value in result.items() if np.isnan(value)} == {
        "sigma_nmad", "sigma_iqr", "outlier_rail", "pit_ks", "pit_cvm", "pit_ad", "pit_extreme"
    }  # fmt: skip


def test_outliers_are_counted_by_hand():
    z_true = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 0.5])
    z_phot = np.array([0.01, 0.2, 1.2, 3.5, 2.0, 0.5])
    result = metrics.point_metrics(z_phot, z_true)
    assert result["n"] == 6
    assert result["outlier_015"] == pytest.approx(2 / 6)  # 0.2/1 and 2.5/2
    assert result["catastrophic"] == pytest.approx(1 / 6)
    error = np.array([0.0] * 90 + [0.05] * 5 + [0.07] * 5)
    assert metrics.outlier_rail(error) == pytest.approx(0.05)  # the floor of 0.06 decides
    wide = np.concatenate([np.linspace(-0.2, 0.2, 95), [2.0] * 5])
    assert metrics.outlier_rail(wide) == pytest.approx(0.05)  # 3 sigma_IQR decides


def test_no_objects_give_nan():
    result = metrics.point_metrics([], [])
    assert result.pop("n") == 0
    assert all(np.isnan(value) for value in result.values())
    assert all(np.isnan(value) for value in metrics.pit_statistics(np.array([])).values())
    assert np.isnan(metrics.coverage([], [], []))


EDGES = np.linspace(0, np.log1p(3), 61)


def gaussian(mean, sigma):
    return np.diff(stats.norm.cdf(EDGES, mean, sigma), axis=-1)


@given(
    arrays(np.float64, 60, elements=st.floats(0.01, 1)),
    arrays(np.float64, 60, elements=st.floats(0.01, 1)),
)
def test_the_true_pdf_has_the_least_cde_loss(true_mass, other_mass):
    """Expected over draws from the truth: exact, as each bin's expectation is known."""
    true_mass = true_mass / true_mass.sum()
    grid = 20
    inside = (np.arange(grid) + 0.5) / grid
    z = np.expm1((EDGES[:-1, None] + np.diff(EDGES)[:, None] * inside).ravel())
    weight = np.repeat(true_mass / grid, grid)

    def expected_loss(mass):
        pdf = PiecewisePdf.from_mass(mass[None, :], EDGES)
        return weight @ metrics.cde_loss_terms(pdf, z)

    assert expected_loss(true_mass) <= expected_loss(other_mass) + 1e-4
    assert expected_loss(true_mass) <= expected_loss(0.5 * true_mass + 0.5 * other_mass) + 1e-4


def test_cde_loss_of_a_flat_pdf():
    """Flat in z over [0, 3]: 1/3 - 2/3."""
    edges = np.linspace(0, np.log1p(3), 2001)
    pdf = PiecewisePdf.from_mass(np.diff(np.expm1(edges))[None, :], edges)
    assert metrics.cde_loss_terms(pdf, [1.0]) == pytest.approx(-1 / 3, rel=2e-3)


def test_crps_is_least_for_the_true_pdf():
    rng = np.random.default_rng(2)
    truth = np.expm1(rng.normal(0.7, 0.08, 3000))
    scores = [
        metrics.crps_terms(PiecewisePdf.from_mass(gaussian(m, s)[None, :], EDGES), truth).mean()
        for m, s in [(0.7, 0.08), (0.7, 0.16), (0.7, 0.03), (0.75, 0.08)]
    ]
    assert np.argmin(scores) == 0


def test_pit_of_a_calibrated_pdf_is_uniform_and_of_others_is_not():
    rng = np.random.default_rng(4)
    n = 3000
    mean, sigma = rng.uniform(0.4, 1.0, n), rng.uniform(0.05, 0.1, n)
    truth = np.expm1(rng.normal(mean, sigma))

    def statistics(factor):
        mass = gaussian(mean[:, None], factor * sigma[:, None])
        return metrics.pit_statistics(
            metrics.pit_values(PiecewisePdf.from_mass(mass, EDGES), truth)
        )

    calibrated, narrow = statistics(1), statistics(0.5)
    assert calibrated["pit_ks"] < 0.03
    assert calibrated["pit_ad"] < 3
    assert calibrated["pit_extreme"] < 2e-3
    assert narrow["pit_ks"] > 0.1
    assert narrow["pit_extreme"] > 0.02
    for name in ("pit_cvm", "pit_ad"):
        assert narrow[name] > 10 * calibrated[name]


def test_anderson_darling_agrees_with_scipy():
    x = np.random.default_rng(0).beta(1.2, 1, 200)
    reference = stats.goodness_of_fit(
        stats.uniform,
        x,
        known_params={"loc": 0, "scale": 1},
        statistic="ad",
        n_mc_samples=1,
        rng=np.random.default_rng(0),
    ).statistic
    assert metrics.pit_statistics(x)["pit_ad"] == pytest.approx(reference)


def test_pit_of_exactly_zero_and_one_stays_finite():
    result = metrics.pit_statistics(np.array([0.0, 0.5, 1.0, 0.2]))
    assert np.isfinite(result["pit_ad"])
    assert result["pit_extreme"] == pytest.approx(0.5)


def test_coverage():
    assert metrics.coverage([0, 0, 0.5], [1, 0.2, 1], [0.3, 0.3, 0.5]) == pytest.approx(2 / 3)
