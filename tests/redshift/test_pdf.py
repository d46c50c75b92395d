"""Points, intervals and flags from p(z)."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from photoz_mmae.errors import ModelError
from photoz_mmae.flags import Flag
from photoz_mmae.redshift.metrics import dz, hsc_loss
from photoz_mmae.redshift.pdf import LEVELS, pdf_flags, summarise, uniform_from_id

K = 60
Z_MAX = 4.0
EDGES = np.linspace(0.0, np.log1p(Z_MAX), K + 1)
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])

masses = arrays(
    np.float64, (4, K), elements=st.floats(0, 1).map(lambda x: x if x > 1e-6 else 0.0)
).filter(lambda m: (m.sum(axis=1) > 1e-3).all())


def gaussian(mean, sigma, edges=EDGES):
    """Bin masses of a Gaussian in ln(1+z), (N,), (N,) -> (N, K)."""
    from scipy.stats import norm

    mean, sigma = np.atleast_1d(mean)[:, None], np.atleast_1d(sigma)[:, None]
    return np.diff(norm.cdf(edges, mean, sigma), axis=1)


def ids(n):
    return [str(i) for i in range(n)]


def samples(mass, edges=EDGES, per_bin=400):
    """Equal-mass redshifts within each bin, straight from the definition of p(z)."""
    inside = (np.arange(per_bin) + 0.5) / per_bin
    u = (edges[:-1, None] + np.diff(edges)[:, None] * inside).ravel()
    return np.expm1(u), np.repeat(mass / mass.sum() / per_bin, per_bin)


@given(masses)
def test_moments_and_risk_agree_with_numerical_integration(mass):
    columns = summarise(mass, EDGES, ids(4))
    for row in range(4):
        z, weight = samples(mass[row])
        mean = weight @ z
        best = float(columns["z_best"][row])
        assert columns["z_mean"][row] == pytest.approx(mean, abs=1e-4)
        assert columns["z_std"][row] == pytest.approx(
            np.sqrt(weight @ (z - mean) ** 2), rel=1e-3, abs=1e-3
        )
        assert columns["z_std_best"][row] == pytest.approx(
            np.sqrt(weight @ (z - best) ** 2), rel=1e-3, abs=1e-3
        )
        assert columns["z_risk_best"][row] == pytest.approx(
            weight @ hsc_loss(dz(best, z)), abs=1e-4
        )
        near = np.abs(z - best) < 0.03 * (1 + best)
        assert columns["z_conf_best"][row] == pytest.approx(weight[near].sum(), abs=5e-3)


@settings(max_examples=30)
@given(masses)
def test_no_other_redshift_has_less_risk(mass):
    columns = summarise(mass, EDGES, ids(4))
    candidates = np.expm1(np.linspace(EDGES[0], EDGES[-1], 500))
    for row in range(4):
        z, weight = samples(mass[row], per_bin=10)
        risk = hsc_loss(dz(candidates[:, None], z)) @ weight
        assert columns["z_risk_best"][row] <= min(risk) + 2e-4


@given(masses)
def test_points_and_intervals_are_in_range_and_in_order(mass):
    columns = summarise(mass, EDGES, ids(4))
    for name in ("z_best", "z_mean", "z_median", "z_mode", "z_mc", "z_quantiles"):
        assert (columns[name] >= 0).all(), name
        assert (columns[name] <= np.float32(Z_MAX) * (1 + 1e-6)).all(), name
    assert (np.diff(columns["z_quantiles"], axis=1) >= 0).all()
    ordered = ["z_err95_min", "z_err68_min", "z_median", "z_err68_max", "z_err95_max"]
    for low, high in itertools.pairwise(ordered):
        assert (columns[low] <= columns[high]).all()
    for name in ("z_risk_best", "z_conf_best"):
        assert ((columns[name] >= 0) & (columns[name] <= 1 + 1e-6)).all()
    assert (columns["z_std_best"] >= columns["z_std"] * (1 - 1e-6)).all()


@given(masses, st.floats(1e-3, 1e3))
def test_scale_of_the_mass_does_not_matter(mass, factor):
    one, other = summarise(mass, EDGES, ids(4)), summarise(factor * mass, EDGES, ids(4))
    for name in one:
        if name != "z_mode":  # two equal peaks: rounding decides
            assert other[name] == pytest.approx(one[name], abs=1e-4), name


def test_interval_columns_hold_the_percentiles_they_are_named_after():
    columns = summarise(gaussian(0.7, 0.1), EDGES, ["a"])
    for name, level in {
        "z_err68_min": 0.16,
        "z_err68_max": 0.84,
        "z_err95_min": 0.025,
        "z_err95_max": 0.975,
        "z_median": 0.5,
    }.items():
        from scipy.stats import norm

        assert columns[name][0] == columns["z_quantiles"][0, LEVELS.index(level)]
        # Flat bins of 0.027 for a Gaussian of 0.1.
        assert columns[name][0] == pytest.approx(np.expm1(norm.ppf(level, 0.7, 0.1)), abs=6e-3)


def test_a_single_full_bin():
    mass = np.zeros((1, K))
    mass[0, 20] = 1
    columns = summarise(mass, EDGES, ["a"])
    z = np.expm1(CENTRES[20])
    half = 0.5 * (np.expm1(EDGES[21]) - np.expm1(EDGES[20]))
    for name in ("z_best", "z_mean", "z_median", "z_mode"):
        assert columns[name][0] == pytest.approx(z, abs=0.02 * half), name
    assert columns["z_std"][0] == pytest.approx(half / np.sqrt(3), rel=1e-2)
    assert columns["z_conf_best"][0] == pytest.approx(1)
    assert columns["z_risk_best"][0] < 0.01
    assert np.expm1(EDGES[20]) <= columns["z_mc"][0] <= np.expm1(EDGES[21])


def test_best_and_mode_follow_the_pdf_below_the_bin_width():
    """No staircase: a p(z) moved by a tenth of a bin moves the points by as much."""
    width = EDGES[1] - EDGES[0]
    truth = CENTRES[25] + np.linspace(-0.5, 0.5, 11) * width
    columns = summarise(gaussian(truth, np.full(11, 1.5 * width)), EDGES, ids(11))
    assert np.log1p(columns["z_best"]) - truth == pytest.approx(0, abs=5e-3 * width + 4e-3)
    assert np.diff(np.log1p(columns["z_best"])) == pytest.approx(0.1 * width, rel=0.15)
    # The density in z is that in ln(1+z) divided by (1+z): its peak lies sigma^2 lower.
    mode = truth - (1.5 * width) ** 2
    assert np.log1p(columns["z_mode"]) == pytest.approx(mode, abs=0.06 * width)


def test_best_is_found_to_1e_4_on_a_fine_grid():
    edges = np.linspace(0, np.log1p(4), 301)
    rng = np.random.default_rng(5)
    mass = gaussian(rng.uniform(0.1, 1.5, 12), rng.uniform(0.01, 0.2, 12), edges)
    mass += 0.4 * gaussian(rng.uniform(0.1, 1.5, 12), rng.uniform(0.01, 0.2, 12), edges)
    columns = summarise(mass, edges, ids(12))
    for row in range(12):
        z, weight = samples(mass[row], edges, per_bin=20)
        near = columns["z_best"][row] + np.linspace(-0.01, 0.01, 801)
        risk = hsc_loss(dz(near[:, None], z)) @ weight
        assert columns["z_best"][row] == pytest.approx(near[np.argmin(risk)], abs=1e-4)


def test_mode_is_of_the_density_in_z():
    """Of two bins with equal mass in ln(1+z) the lower redshift has the higher density."""
    mass = np.zeros((1, K))
    mass[0, [10, 50]] = 0.45, 0.55
    assert np.log1p(summarise(mass, EDGES, ["a"])["z_mode"][0]) == pytest.approx(
        CENTRES[10], abs=0.02
    )


def test_a_falling_density_has_its_mode_at_the_lower_edge():
    mass = np.exp(-5 * CENTRES)[None, :]
    assert summarise(mass, EDGES, ["a"])["z_mode"][0] == pytest.approx(0, abs=1e-6)


def test_unequal_bins():
    edges = np.concatenate([np.linspace(0, 0.5, 80), np.linspace(0.55, 1.6, 20)])
    columns = summarise(gaussian([0.3, 0.9], [0.05, 0.15], edges), edges, ["a", "b"])
    for name in ("z_best", "z_median", "z_mean"):
        assert np.log1p(columns[name]) == pytest.approx([0.3, 0.9], abs=0.03), name


def test_draws_follow_the_pdf():
    n = 4000
    columns = summarise(gaussian(np.full(n, 0.8), np.full(n, 0.1)), EDGES, ids(n))
    from scipy.stats import kstest

    assert kstest(np.log1p(columns["z_mc"]), "norm", (0.8, 0.1)).statistic < 0.03


def test_draw_depends_on_the_id_alone():
    mass = gaussian([0.4, 0.8, 1.2], [0.1, 0.1, 0.1])
    columns = summarise(mass, EDGES, ["17", "18", "schöne Galaxie"])
    turned = summarise(mass[::-1], EDGES, ["schöne Galaxie", "18", "17"])
    assert (columns["z_mc"] == turned["z_mc"][::-1]).all()
    assert columns["z_mc"][0] != summarise(mass[:1], EDGES, ["x"])["z_mc"][0]


def test_draw_is_the_same_in_every_process():
    """Python's own hash is salted anew in each process; this one is not."""
    program = (
        "from photoz_mmae.redshift.pdf import uniform_from_id as u;"
        "print(repr(u('17')), repr(u('bad\\udcff')))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    here = [uniform_from_id(name) for name in ("17", "bad\udcff")]
    assert runs == {f"{here[0]!r} {here[1]!r}\n"}


def test_uniform_from_id_is_uniform():
    draws = np.array([uniform_from_id(str(i)) for i in range(5000)])
    assert ((draws > 0) & (draws < 1)).all()
    assert np.histogram(draws, bins=10, range=(0, 1))[0] == pytest.approx(500, abs=100)


def test_rows_without_pdf_are_nan_and_unflagged():
    mass = gaussian([0.5, 0.5, 0.5], [0.1, 0.1, 0.1])
    mass[0] = np.nan
    mass[2] = 0
    columns = summarise(mass, EDGES, ids(3))
    for name, values in columns.items():
        assert np.isnan(values[[0, 2]]).all(), name
        assert np.isfinite(values[1]).all(), name
    assert (pdf_flags(mass, EDGES, columns) == 0).all()


def test_no_objects():
    mass = np.zeros((0, K), dtype=np.float32)
    columns = summarise(mass, EDGES, [])
    assert columns["z_best"].shape == (0,)
    assert columns["z_quantiles"].shape == (0, len(LEVELS))
    assert pdf_flags(mass, EDGES, columns).shape == (0,)


def test_results_do_not_depend_on_the_neighbours():
    rng = np.random.default_rng(3)
    mass = rng.random((1500, K)).astype(np.float32)  # more than one chunk
    whole = summarise(mass, EDGES, ids(1500))
    part = summarise(mass[1000:1100], EDGES, ids(1500)[1000:1100])
    for name, values in part.items():
        assert values == pytest.approx(whole[name][1000:1100], abs=1e-6), name


def test_flags():
    mass = np.concatenate(
        [
            gaussian([0.5, 0.0, np.log1p(Z_MAX)], [0.05, 0.03, 0.03]),
            gaussian(0.8, 0.4),
            gaussian(0.3, 0.03) + 0.15 * gaussian(1.0, 0.03),
            gaussian(0.3, 0.03) + 0.05 * gaussian(1.0, 0.03),
            gaussian(1.0, 0.03) + 0.15 * gaussian(0.3, 0.03),
        ]
    )
    flags = pdf_flags(mass, EDGES, summarise(mass, EDGES, ids(len(mass))))
    assert flags.dtype == np.int32
    assert [Flag(int(flag)) for flag in flags] == [
        Flag(0),
        Flag.Z_AT_EDGE,
        Flag.Z_AT_EDGE,
        Flag.WIDE_PDF,
        Flag.MULTI_PEAK,
        Flag(0),
        Flag.MULTI_PEAK,
    ]


def test_noise_on_a_single_peak_is_not_a_second_one():
    rng = np.random.default_rng(1)
    edges = np.linspace(0, 1.6, 301)
    mass = gaussian(rng.uniform(0.2, 1.4, 200), rng.uniform(0.01, 0.1, 200), edges)
    mass *= rng.normal(1, 0.15, mass.shape).clip(0)
    flags = pdf_flags(mass, edges, summarise(mass, edges, ids(200)))
    assert not (flags & Flag.MULTI_PEAK).any()


@pytest.mark.parametrize(
    ("mass", "edges", "names"),
    [
        (np.ones((2, K)), EDGES[:-1], ids(2)),
        (np.ones(K), EDGES, ids(1)),
        (np.ones((2, K)), EDGES[::-1], ids(2)),
        (np.ones((2, K)), EDGES, ids(3)),
    ],
)
def test_what_does_not_fit_together_is_refused(mass, edges, names):
    with pytest.raises(ModelError):
        summarise(mass, edges, names)
