"""The piecewise p(z): closed forms against numerical integration, and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from photoz_mmae.redshift.piecewise import PiecewisePdf

K = 12
EDGES = np.linspace(0.0, np.log(4.0), K + 1)

masses = arrays(
    np.float64, (3, K), elements=st.floats(0, 1).map(lambda x: x if x > 1e-6 else 0.0)
).filter(lambda m: (m.sum(axis=1) > 1e-3).all())
redshifts = arrays(np.float64, 3, elements=st.floats(0.0, 3.0))


def fine_grid(pdf: PiecewisePdf, row: int, n: int = 12_001):
    """Redshifts, density in z and cumulative of one object, straight from the definition."""
    u = np.linspace(EDGES[0], EDGES[-1], n)
    middle = 0.5 * (u[1:] + u[:-1])
    k = np.clip(np.searchsorted(EDGES, middle) - 1, 0, K - 1)
    share = pdf.mass[row][k] / np.diff(EDGES)[k] * np.diff(u)
    return np.expm1(u), share / np.diff(np.expm1(u)), np.concatenate([[0], np.cumsum(share)])


@given(masses, redshifts)
def test_integrals_agree_with_numerical_ones(mass, z_true):
    pdf = PiecewisePdf.from_mass(mass, EDGES)
    square, crps, cdf = pdf.square_integral(), pdf.crps(z_true), pdf.cdf(z_true)
    for row in range(3):
        z, density, cumulative = fine_grid(pdf, row)
        assert density @ np.diff(z) == pytest.approx(1)
        assert square[row] == pytest.approx(density**2 @ np.diff(z), rel=1e-3)
        assert cdf[row] == pytest.approx(np.interp(z_true[row], z, cumulative), abs=1e-3)
        above = 0.5 * (z[1:] + z[:-1]) >= z_true[row]
        middle = 0.5 * (cumulative[1:] + cumulative[:-1])
        assert crps[row] == pytest.approx((middle - above) ** 2 @ np.diff(z), abs=1e-3)


@given(masses, st.floats(0.001, 0.999))
def test_quantile_inverts_the_cumulative(mass, level):
    pdf = PiecewisePdf.from_mass(mass, EDGES)
    z = pdf.quantile([level])
    assert ((z >= 0) & (z <= 3 + 1e-12)).all()
    assert pdf.cdf(z[:, 0]) == pytest.approx(np.full(3, level), abs=1e-9)


@given(masses)
def test_quantiles_increase(mass):
    levels = np.linspace(0.01, 0.99, 33)
    assert (np.diff(PiecewisePdf.from_mass(mass, EDGES).quantile(levels), axis=1) >= 0).all()


@given(masses)
def test_density_integrates_to_the_cumulative(mass):
    pdf = PiecewisePdf.from_mass(mass, EDGES)
    z = np.expm1(np.linspace(EDGES[0], EDGES[-1], 100 * K + 1))
    for row in range(3):
        one = PiecewisePdf(EDGES, pdf.mass[[row]])  # one distribution, many redshifts
        summed = np.cumsum(one.pdf(0.5 * (z[1:] + z[:-1])) * np.diff(z))
        assert one.cdf(z[1:]) == pytest.approx(summed, abs=1e-3)


def test_outside_the_bins():
    pdf = PiecewisePdf.from_mass(np.ones((2, K)), EDGES)
    assert pdf.pdf([3.5, -0.1]) == pytest.approx([0, 0])
    assert pdf.cdf([3.5, -0.1]) == pytest.approx([1, 0])


@given(masses, redshifts)
def test_quantiles_rebuild_the_distribution(mass, z_true):
    """With a quantile at every bin edge the rebuilt p(z) is the same one."""
    pdf = PiecewisePdf.from_mass(mass + 0.05, EDGES)
    for row in range(3):
        levels = np.concatenate([[1e-9], pdf.cumulative[row, 1:-1], [1 - 1e-9]])
        z = PiecewisePdf(EDGES, pdf.mass[[row]]).quantile(levels)
        again = PiecewisePdf.from_quantiles(z, list(levels))
        at = z_true[[row]]
        one = PiecewisePdf(EDGES, pdf.mass[[row]])
        assert again.cdf(at) == pytest.approx(one.cdf(at), abs=1e-4)
        assert again.square_integral() == pytest.approx(one.square_integral(), rel=1e-4)
        assert again.crps(at) == pytest.approx(one.crps(at), abs=1e-4)


def test_quantiles_give_their_own_levels_back():
    levels = [0.025, 0.16, 0.5, 0.84, 0.975]
    z = np.array([[0.1, 0.2, 0.3, 0.5, 0.9], [1.0, 1.01, 1.02, 1.05, 1.2]], dtype=np.float32)
    pdf = PiecewisePdf.from_quantiles(z, levels)
    for j, level in enumerate(levels):
        assert pdf.cdf(z[:, j].astype(np.float64)) == pytest.approx(level, abs=1e-5)
    assert pdf.cdf(np.array([0.05, 0.5])) == pytest.approx(0)
    assert pdf.cdf(np.array([1.5, 1.5])) == pytest.approx(1)
    assert len(pdf) == 2


def test_equal_quantiles_stay_finite():
    pdf = PiecewisePdf.from_quantiles(np.full((1, 4), 0.7), [0.1, 0.4, 0.6, 0.9])
    assert np.isfinite(pdf.square_integral()).all()
    assert pdf.crps(np.array([0.7])) == pytest.approx(0, abs=1e-5)


def test_crps_of_a_narrow_pdf_is_the_absolute_error():
    edges = np.linspace(0, 1.5, 15_001)
    mass = np.zeros((3, 15_000))
    mass[:, 5000] = 1
    z = np.expm1(0.5 * (edges[5000] + edges[5001]))
    truth = np.array([0.1, z + 0.3, 6.0])  # the last one outside the grid
    assert PiecewisePdf.from_mass(mass, edges).crps(truth) == pytest.approx(
        np.abs(truth - z), abs=1e-3
    )


def test_crps_of_a_gaussian():
    """Closed form of Gneiting & Raftery 2007, equation 21."""
    edges = np.log1p(np.linspace(0.5, 1.5, 4001))
    z0, sigma = 1.0, 0.05
    mass = np.diff(stats.norm.cdf(np.expm1(edges), z0, sigma))[None, :].repeat(3, axis=0)
    truth = np.array([1.0, 1.04, 0.8])
    w = (truth - z0) / sigma
    expected = sigma * (
        w * (2 * stats.norm.cdf(w) - 1) + 2 * stats.norm.pdf(w) - 1 / np.sqrt(np.pi)
    )
    assert PiecewisePdf.from_mass(mass, edges).crps(truth) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, -0.1, np.inf])
def test_a_row_that_is_no_distribution_is_nan_everywhere(bad):
    mass = np.ones((3, K))
    mass[1, 4] = bad
    mass[2] = 0
    pdf = PiecewisePdf.from_mass(mass, EDGES)
    z = np.array([0.5, 0.5, 9.0])
    for result in (pdf.cdf(z), pdf.pdf(z), pdf.crps(z), pdf.square_integral()):
        assert np.isfinite(result[0])
        assert np.isnan(result[1:]).all()
    assert np.isnan(pdf.quantile([0.5])[1:]).all()


def test_a_row_of_nan_quantiles_is_nan():
    z = np.array([[0.1, 0.2, 0.3], [np.nan] * 3])
    pdf = PiecewisePdf.from_quantiles(z, [0.1, 0.5, 0.9])
    at = np.array([0.2, 0.2])
    for result in (pdf.cdf(at), pdf.pdf(at), pdf.crps(at), pdf.square_integral()):
        assert np.isfinite(result[0])
        assert np.isnan(result[1])
