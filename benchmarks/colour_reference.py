"""How well colours and magnitudes alone can do: the Bayes estimate under the mock's own generator.

    python benchmarks/colour_reference.py --seed 2
    python benchmarks/colour_reference.py --selection magnitude:24 --errors images
    python benchmarks/colour_reference.py --data mock.hdf5 --beside report/base-seed0.json

With --data and --beside it is done on the test objects of an outcome of `compare-models` on a file
of `simulate -o` (DESI's targets), and the outcome is divided by it, object by object. Else the
objects are mock data, those of `photoz-mmae simulate -n 5000 --seed 2`; what is known of each is
its catalogued magnitudes in five bands (`cmodel_mag`), shifted by errors of calibration such as the
images have, their errors as an observer states them (from the sky and the measured flux, never from
the noise-free one, and from calibration) and its Galactic E(B-V). The prior are other draws of the
same population. Each draw is weighted by its likelihood; the point is where the expected HSC loss
is least.

Catalogued magnitudes have an error of ten times the sky noise of a pixel, which is about that of a
point's flux, and 1 per cent. Nobody measures an extended galaxy on these images that well. With
`--errors images` fluxes have the least error that the images allow: that of the best linear
estimate (a matched filter) for who knows position, profile and PSF, with no neighbours around.

Draws that fit in colour at another brightness count too: the likelihood is widened by a grey
kernel of 0.06 mag. Where fewer than 30 draws effectively carry a posterior, the kernel is widened,
in the end in colour too. So the figures are a reference, not a bound: with more draws they improve
a little, and images hold more than colours.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.peers.comparison import open_data
from photoz_mmae.peers.outcome import load_outcome, load_tested
from photoz_mmae.peers.table import ratio
from photoz_mmae.redshift.metrics import (
    coverage,
    dz,
    outlier_015,
    pit_statistics,
    pit_values,
    sigma_nmad,
)
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.redshift.piecewise import PiecewisePdf
from photoz_mmae.runs import CompareModelsRun
from photoz_mmae.simulation.exposure import (
    ZERO_POINT_JITTER,
    electrons_per_flux,
    noise_power,
    sky_noise,
)
from photoz_mmae.simulation.observe import (
    CHUNK,
    MockChunk,
    Scene,
    band_fluxes_of,
    draw_scene,
    flux_error,
)
from photoz_mmae.simulation.pointing import get_conditions
from photoz_mmae.simulation.population import CLASSES, draw_targets
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import render
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT, Survey
from photoz_mmae.training_sets.galaxiesml import SpectraFile

Floats = NDArray[np.float64]

EDGES = np.arange(0.0, np.log(1.0 + 4.7), 0.002)  # of the bins of p(z), in ln(1+z)
GREY = 0.06  # mag
ENOUGH = 30  # effective number of draws
# Grey kernel (mag) and factor on the errors, tried in turn until enough draws count.
KERNELS = (
    (GREY, 1.0),
    (0.12, 1.0),
    (0.25, 1.0),
    (0.5, 1.2),
    (0.5, 1.5),
    (1.0, 2.0),
    (1.0, 3.0),
    (2.0, 5.0),
)
REDSHIFTS = ((0.0, 0.4), (0.4, 1.0), (1.0, 4.5))
KINDS = ("BGS", "LRG", "ELG", "QSO")
DRAWN_AT_ONCE = 1000
WEIGHTS_AT_ONCE = 3_200_000  # of objects times draws: more than fit in caches are no faster
RESAMPLINGS = 500


@dataclass
class Objects:
    """N objects as an observer has them, and the truth.

    `flux` and `error` (N, B) are as measured, `dimming` (N, B) is the known factor of the
    Galaxy's dust; `redshift` (N,) and `kind` (N,) str are the truth.
    """

    flux: Floats
    error: Floats
    dimming: Floats
    redshift: Floats
    kind: NDArray[np.str_]

    def __getitem__(self, rows: NDArray[np.int64]) -> "Objects":
        """Return some of them."""
        return Objects(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass
class Posterior:
    """Probability `mass` (N, K) in the bins of `EDGES`; of how many draws; with which kernel."""

    mass: Floats
    effective: Floats
    kernel: NDArray[np.int64]


def observe(n: int, recipe: Recipe) -> Objects:
    """Simulate test objects, and keep what a catalogue of them would hold."""
    return catalogued(list(simulate(recipe, n)), recipe)


def catalogued(chunks: Sequence[MockChunk], recipe: Recipe) -> Objects:
    """Keep what a catalogue of mock objects would hold."""
    n = sum(len(chunk) for chunk in chunks)
    flux = 10 ** (-0.4 * (np.concatenate([c.cmodel_mag for c in chunks]) - ZERO_POINT))
    ebv = np.concatenate([c.ebv for c in chunks])
    # Catalogued magnitudes are right on average, those of a stamp's image are not: a network on
    # images has this error, so the reference is to have it, too.
    rng = np.random.default_rng([recipe.seed, n])
    flux *= 10 ** (-0.4 * rng.normal(0.0, ZERO_POINT_JITTER, flux.shape))
    noise = flux_error(np.concatenate([c.sky_noise for c in chunks]), flux)
    return Objects(
        flux=flux,
        error=np.hypot(noise, np.log(10.0) / 2.5 * ZERO_POINT_JITTER * flux),
        dimming=10 ** (-0.4 * ebv[:, None] * np.array(recipe.survey.extinction)),
        redshift=np.concatenate([c.redshift for c in chunks]),
        kind=np.concatenate([c.kind for c in chunks]),
    )


def measured(n: int, recipe: Recipe) -> Objects:
    """Simulate the objects that `observe` does, and give what their images allow to know."""
    survey, chunks = recipe.survey, []
    photons = np.array(electrons_per_flux(survey))
    for chunk, first in enumerate(range(0, n, CHUNK)):
        own = recipe.of_chunk(chunk)
        rng = np.random.default_rng([own.seed, chunk])
        scene = draw_scene(rng, own, min(CHUNK, n - first), chunk)
        true, ebv = scene.total, scene.ebv
        noise = np.sqrt(matched_error(scene, survey) ** 2 + true / photons)
        calibration = 10 ** (-0.4 * rng.normal(0.0, ZERO_POINT_JITTER, true.shape))
        flux = true * calibration + rng.normal(0.0, 1.0, true.shape) * noise
        chunks.append(
            Objects(
                flux=flux,
                error=np.hypot(noise, np.log(10.0) / 2.5 * ZERO_POINT_JITTER * flux),
                dimming=10 ** (-0.4 * ebv[:, None] * np.array(survey.extinction)),
                redshift=scene.targets.z,
                kind=np.array(CLASSES)[scene.targets.kind],
            )
        )
    columns = (np.concatenate([getattr(c, f.name) for c in chunks]) for f in fields(Objects))
    return Objects(*columns)


def matched_error(scene: Scene, survey: Survey) -> Floats:
    """Error (N, B) of the targets' total fluxes that the sky leaves to a matched filter.

    With the noise-free stamp s of total flux F and the noise's power spectrum P, it is
    F / sqrt(sum over frequencies of abs(s)^2 / P).
    """
    patch = scene.pointings.patch
    psfs = get_conditions(survey).psfs
    image = render(scene.own, scene.clumps, len(patch), psfs, patch)  # (N, B, S, S)
    power = noise_power(image.shape[-1])
    signal = torch.fft.fft2(image).abs().square().div_(power).mean((-2, -1))
    error: Floats = sky_noise(survey, patch) * scene.total / signal.sqrt().numpy()
    return error


def draw_prior(n: int, recipe: Recipe) -> tuple[Floats, Floats]:
    """Redshift (n,), increasing, and noise-free, dust-free band fluxes (n, B) of other targets."""
    first = range(0, n, DRAWN_AT_ONCE)
    # Spawned: no other generator of the same seed draws the same numbers, the test objects' least.
    seeds = np.random.SeedSequence(recipe.seed).spawn(len(first))
    redshift, flux = [], []
    for start, seed in zip(first, seeds, strict=True):
        size = min(DRAWN_AT_ONCE, n - start)
        targets = draw_targets(np.random.default_rng(seed), size, recipe)
        redshift.append(targets.z)
        flux.append(band_fluxes_of(targets, recipe.survey))
    z = np.concatenate(redshift)
    order = np.argsort(z)
    return z[order], np.concatenate(flux)[order]


def estimate(
    flux: Floats, error: Floats, prior_z: Floats, prior_flux: Floats, enough: float = ENOUGH
) -> Posterior:
    """Posteriors of N objects from dust-free fluxes and their errors (N, B).

    `prior_z` (P,) increases; `prior_flux` is (P, B).
    """
    n = len(flux)
    posterior = Posterior(np.zeros((n, len(EDGES) - 1)), np.zeros(n), np.zeros(n, dtype=np.int64))
    starts = np.searchsorted(prior_z, np.expm1(EDGES))
    models = torch.from_numpy(prior_flux.T.astype("f4"))  # (B, P)
    waiting, at_once = np.arange(n), max(WEIGHTS_AT_ONCE // len(prior_z), 1)
    for number, (grey, factor) in enumerate(KERNELS):
        for first in range(0, len(waiting), at_once):
            rows = waiting[first : first + at_once]
            weight = likelihood(flux[rows], factor * error[rows], models, grey)
            total, squares = weight.sum(dim=1), (weight**2).sum(dim=1)
            posterior.effective[rows] = (total**2 / squares).numpy()
            posterior.kernel[rows] = number
            cumulative = np.zeros((len(rows), len(prior_z) + 1))
            np.cumsum(weight.numpy(), axis=1, dtype=np.float64, out=cumulative[:, 1:])
            posterior.mass[rows] = np.diff(cumulative[:, starts], axis=1)
        waiting = waiting[posterior.effective[waiting] < enough]
    return posterior


def likelihood(flux: Floats, error: Floats, models: Tensor, grey: float) -> Tensor:
    """Likelihood (N, P), up to a factor per object, of models (B, P) each of uncertain brightness.

    A model m is m (1 + e) with e normal of width g, integrated over: with a = sum(d m / s^2) and
    M = sum(m^2 / s^2), chi^2 = sum(d^2 / s^2) - a^2 / M + (a / M - 1)^2 M / (1 + g^2 M), and the
    likelihood exp(-chi^2 / 2) / sqrt(1 + g^2 M).
    """
    data, inverse = (torch.from_numpy(v.astype("f4")) for v in (flux / error**2, error**-2.0))
    a, m = data @ models, inverse @ models**2
    width = grey * np.log(10.0) / 2.5
    best = a / m  # brightness of the model that fits best
    wide = m * width**2 + 1.0
    # sum(d^2 / s^2) is common to all models and goes with the largest weight.
    chi2 = m.mul_((best - 1.0).square_()).div_(wide).sub_(a.mul_(best)).add_(wide.log_())
    return chi2.sub_(chi2.amin(dim=1, keepdim=True)).mul_(-0.5).exp_()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-prior", type=int, default=400_000)
    parser.add_argument("--n-test", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--selection", default="desi")
    parser.add_argument("--errors", choices=("catalogue", "images"), default="catalogue")
    parser.add_argument("--data", type=Path, help="instead of --seed and --n-test, with --beside")
    parser.add_argument(
        "--beside", type=Path, nargs="+", help="NAME-seedK.json, of a model's seeds"
    )
    options = parser.parse_args()
    if (options.data is None) != (options.beside is None):
        parser.error("--data and --beside go together")
    torch.set_num_threads(1)
    start = time.perf_counter()
    know = observe if options.errors == "catalogue" else measured
    if options.beside:
        file = SpectraFile(options.data)
        recipe = Recipe(HSC_WIDE, file.mock_seed)
        objects = know(len(file), recipe)[test_rows(options.data, file, options.beside[0])]
    else:
        recipe = Recipe(HSC_WIDE, options.seed, options.selection)
        objects = know(options.n_test, recipe)
    prior_z, prior_flux = draw_prior(options.n_prior, recipe)
    posterior = estimate(
        objects.flux / objects.dimming, objects.error / objects.dimming, prior_z, prior_flux
    )
    report(objects, posterior, np.random.default_rng(options.seed))
    if options.beside:
        divide(objects, posterior, options.beside)
    print(f"\n{len(prior_z)} draws of the prior, {time.perf_counter() - start:.0f} s, one thread")


def test_rows(data: Path, file: SpectraFile, outcome: Path) -> NDArray[np.int64]:
    """Rows of the file that an outcome was tested on, (N,)."""
    settings = load_outcome(outcome).settings
    sizes = {name: settings[name] for name in ("training_size", "validation_size", "test_size")}
    run = CompareModelsRun(data=data, output=outcome.parent, split=settings["split"], **sizes)
    if settings["dust"] != "none":
        file.load_ebv()
    rows = open_data(run, file, "relative", 0, 0).rows("test")
    # Not by the file's checksum: another processor makes the same objects with other last digits.
    if not np.array_equal(file.redshift[rows].astype("f4"), load_tested(outcome).z_true):
        raise SystemExit(f"{outcome}: tested on other objects than those of {data}")
    return rows


def divide(objects: Objects, posterior: Posterior, outcomes: list[Path]) -> None:
    """Print the outcomes' sigma_NMAD over that of the reference, on the same objects."""
    z = objects.redshift
    # The median, as it is of the outcomes of our networks.
    ours = summarise(posterior.mass, EDGES, [str(row) for row in range(len(z))])["z_median"]
    reference = dz(ours, z)[None]
    groups = {f"{a:g} - {b:g}": (z >= a) & (z < b) for a, b in REDSHIFTS}
    groups["all"] = np.ones(len(z), dtype=bool)
    tested = [load_tested(path) for path in outcomes]
    name = load_outcome(outcomes[0]).model
    print(f"\n| {name} / reference, {len(outcomes)} seeds | {' | '.join(groups)} |")
    print("|---|" + "---|" * len(groups))
    for way in tested[0].z_phot:
        theirs = np.stack([dz(each.z_phot[way], z) for each in tested])
        cells = []
        for mine in groups.values():
            found = ratio(theirs[:, mine], reference[:, mine], sigma_nmad)
            cells.append(f"{found.value:.3f}, at most {found.upper:.3f}")
        print(f"| {way} | {' | '.join(cells)} |")
    print("at most: one-sided 95 % bound, paired bootstrap over the objects")


def report(objects: Objects, posterior: Posterior, rng: np.random.Generator) -> None:
    """Print one table, and whether the posteriors are as wide as they should be."""
    z, kind = objects.redshift, objects.kind
    names = [str(row) for row in range(len(z))]
    columns = summarise(posterior.mass, EDGES, names)
    error = dz(columns["z_best"], z)
    groups = {f"{a:g} - {b:g}": (z >= a) & (z < b) for a, b in REDSHIFTS}
    groups |= {"all": np.ones(len(z), dtype=bool), "all but QSO": kind != "QSO"}
    groups |= {name: kind == name for name in KINDS}
    print("| mock objects | number | sigma_NMAD | abs(dz) > 0.15 | draws |")
    print("|---|---|---|---|---|")
    for name, mine in groups.items():
        if mine.any():
            drawn = error[mine][rng.integers(mine.sum(), size=(RESAMPLINGS, mine.sum()))]
            sigma = np.std([sigma_nmad(row) for row in drawn])
            outliers = np.std([outlier_015(row) for row in drawn])
            print(
                f"| {name} | {mine.sum()} | {sigma_nmad(error[mine]):.4f} ± {sigma:.4f} "
                f"| {100 * outlier_015(error[mine]):.2f} ± {100 * outliers:.2f} % "
                f"| {np.median(posterior.effective[mine]):.0f} |"
            )
    pit = pit_values(PiecewisePdf.from_mass(posterior.mass, EDGES), z)
    print("\nErrors: bootstrap. draws: how many of the prior carry a posterior, median.")
    for level in (68, 95):
        inside = coverage(columns[f"z_err{level}_min"], columns[f"z_err{level}_max"], z)
        print(f"{100 * inside:.1f} % of the redshifts are inside the {level} % interval")
    print(f"PIT against uniform: KS distance {pit_statistics(pit)['pit_ks']:.4f}")
    shares = np.bincount(posterior.kernel, minlength=len(KERNELS)) / len(z)
    for (grey, factor), share in zip(KERNELS, shares, strict=True):
        print(f"grey kernel {grey:g} mag, errors times {factor:g}: {100 * share:.1f} % of objects")


if __name__ == "__main__":
    main()
