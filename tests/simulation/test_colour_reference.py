"""The colour reference: its posteriors are right where what is right is known."""

import numpy as np
import pytest
import torch
from benchmark_files import load_benchmark

from photoz_mmae.cli.main import main
from photoz_mmae.redshift.metrics import coverage, pit_statistics, pit_values
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.redshift.piecewise import PiecewisePdf
from photoz_mmae.simulation.observe import band_fluxes_of, flux_error
from photoz_mmae.simulation.population import draw_targets
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE

reference = load_benchmark("colour_reference")
SKY = np.array(HSC_WIDE.negative_std) / 0.603
RECIPE = Recipe(HSC_WIDE, 11)


def columns_of(posterior):
    return summarise(posterior.mass, reference.EDGES, [str(i) for i in range(len(posterior.mass))])


def fluxes_of_one_galaxy(z, mag):
    """Band fluxes (N, B) of the same spectrum at other redshifts."""
    targets = draw_targets(np.random.default_rng(0), 3000, RECIPE)
    lrg = np.flatnonzero(targets.kind == 1)[0]
    same = np.full(len(z), lrg)
    galaxies = targets.galaxies
    for name, values in vars(galaxies).items():
        setattr(galaxies, name, values.take(same) if name in ("bulge", "disk") else values[same])
    galaxies.z, galaxies.mag = z, np.full(len(z), mag)
    targets.z, targets.kind, targets.host_share = z, targets.kind[same], np.ones(len(z))
    return band_fluxes_of(targets, HSC_WIDE)


@pytest.fixture(scope="module")
def prior():
    return reference.draw_prior(20_000, RECIPE)


def test_without_noise_a_dense_prior_gives_the_redshift_back():
    grid = np.linspace(0.02, 1.2, 2000)
    z = np.random.default_rng(1).uniform(0.1, 1.1, 40)
    # Half a magnitude brighter than the prior's: colours alone must do, for a grey kernel as wide.
    flux = fluxes_of_one_galaxy(z, 19.5)
    models = fluxes_of_one_galaxy(grid, 20.0)
    weight = reference.likelihood(flux, 0.002 * flux, torch_of(models), grey=1.0).numpy()
    np.testing.assert_allclose(grid[weight.argmax(axis=1)], z, atol=0.002)
    posterior = reference.estimate(fluxes_of_one_galaxy(z, 20.0), 0.002 * flux, grid, models, 0)
    np.testing.assert_allclose(columns_of(posterior)["z_best"], z, atol=0.004)
    assert (posterior.kernel == 0).all()


def torch_of(models):
    return torch.from_numpy(models.T.astype("f4"))


def test_intervals_hold_what_they_say(prior):
    n = 300
    rng = np.random.default_rng(5)
    targets = draw_targets(rng, n, RECIPE)
    true = band_fluxes_of(targets, HSC_WIDE)
    # Poor photometry, for which a small prior is dense.
    flux = true + rng.normal(0.0, 1.0, true.shape) * np.hypot(0.1 * true, flux_error(SKY, true))

    def inside(factor):
        error = factor * np.hypot(0.1 * flux, flux_error(SKY, flux))
        posterior = reference.estimate(flux, error, *prior, enough=0)
        columns = columns_of(posterior)
        pit = pit_values(PiecewisePdf.from_mass(posterior.mass, reference.EDGES), targets.z)
        share = coverage(columns["z_err68_min"], columns["z_err68_max"], targets.z)
        return share, pit_statistics(pit)["pit_ks"]

    share, ks = inside(1.0)
    bound = 3 * np.sqrt(0.68 * 0.32 / n)
    assert abs(share - 0.68) < bound
    assert ks < 1.63 / np.sqrt(n)  # 1 % of such samples of a uniform distribution exceed it
    # Errors taken too small would not pass.
    assert inside(0.4)[0] < 0.68 - bound


def test_likelihood_is_that_of_a_model_of_uncertain_brightness():
    flux, error = np.array([[3.0, 5.0, 9.0]]), np.array([[0.3, 0.4, 1.0]])
    models = np.array([[2.8, 5.5, 8.0], [3.6, 6.0, 11.0], [1.0, 2.0, 2.0]])
    grey = 0.2
    step = np.linspace(-2.0, 2.0, 40_001)  # of e in m (1 + e), integrated by hand
    width = grey * np.log(10) / 2.5
    expected = [
        np.exp(
            -0.5 * (((flux - m * (1 + step[:, None])) / error) ** 2).sum(axis=1)
            - 0.5 * (step / width) ** 2
        ).sum()
        for m in models
    ]
    found = reference.likelihood(flux, error, torch_of(models), grey)[0].numpy()
    np.testing.assert_allclose(found, expected / np.max(expected), rtol=1e-4)


def test_no_object_is_in_the_prior(prior):
    objects = reference.observe(600, RECIPE)
    assert not np.isin(objects.redshift, prior[0]).any()
    assert (np.diff(prior[0]) >= 0).all()


def test_dust_of_the_galaxy_is_taken_back():
    clear, dusty = (reference.observe(200, Recipe(HSC_WIDE, 11, ebv=ebv)) for ebv in (0.0, 0.3))
    np.testing.assert_array_equal(clear.redshift, dusty.redshift)
    assert (clear.dimming == 1).all()
    assert np.median(dusty.flux[:, 0] / clear.flux[:, 0]) < 0.5
    ratio = dusty.flux / dusty.dimming / clear.flux
    np.testing.assert_allclose(np.median(ratio, axis=0), 1.0, atol=0.01)


def call(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A mock file, and the outcome of a short training on it."""
    folder = tmp_path_factory.mktemp("compared")
    call("simulate", "-n", 600, "--seed", 3, "-o", folder / "mock.hdf5")
    words = ("--models", "colours", "--epochs", 1, "--test-size", 60, "-o", folder / "report")
    call("compare-models", folder / "mock.hdf5", *words)
    return folder


def run_beside(monkeypatch, data, outcome):
    words = ["colour_reference.py", "--data", data, "--beside", outcome, "--n-prior", 3000]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    reference.main()


def test_an_outcome_is_divided_by_the_reference_on_the_same_objects(compared, capsys, monkeypatch):
    run_beside(monkeypatch, compared / "mock.hdf5", compared / "report/colours-seed0.json")
    said = capsys.readouterr().out
    assert "| all | 60 |" in said
    (line,) = [line for line in said.splitlines() if line.startswith("| whole image |")]
    # One epoch of training is no match for it.
    assert float(line.split("|")[-2].split(",")[0]) > 1.5


def test_an_outcome_of_other_objects_is_refused(compared, tmp_path, monkeypatch):
    call("simulate", "-n", 100, "--seed", 4, "-o", tmp_path / "other.hdf5")
    with pytest.raises(SystemExit, match="tested on other objects"):
        run_beside(monkeypatch, tmp_path / "other.hdf5", compared / "report/colours-seed0.json")
