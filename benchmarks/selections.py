"""How good a model is on several selections of targets, per redshift and class, beside colours.

    python benchmarks/selections.py --model base

Mock objects that no model was trained on: DESI's targets, and field galaxies to 24 and to 25 mag in
i. The model is asked without and with the seeing, where it takes that. Beside it stand two colour
references of `colour_reference.py` on the same objects, whose prior is of the selection itself,
whatever the model was trained on: on catalogued magnitudes, whose errors are those of points, and
on fluxes with the least errors that the images allow.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from colour_reference import (
    EDGES,
    REDSHIFTS,
    Objects,
    catalogued,
    draw_prior,
    estimate,
    measured,
)
from numpy.typing import NDArray

from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import find_model
from photoz_mmae.model.weights import load_model
from photoz_mmae.peers.table import ratio
from photoz_mmae.redshift.metrics import dz, outlier_015, sigma_nmad
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import get_survey

FEWEST = 50
"""Objects of a group; figures of fewer say little."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("--selections", default="desi,magnitude:24,magnitude:25")
    parser.add_argument("--n-test", type=int, default=5000)
    parser.add_argument("--n-prior", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(find_model(options.model))
    engine = Engine(model, masks=0)
    print(
        f"| selection | objects | | {options.model}, images alone | told the seeing "
        "| colours, catalogued | colours, as images allow "
        "| alone / catalogued | told / as images allow |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for selection in options.selections.split(","):
        recipe = Recipe(get_survey(model.info.survey), options.seed, selection)
        objects, alone, told = observe_and_predict(options.n_test, recipe, engine)
        best = measured(options.n_test, recipe)
        assert np.array_equal(best.redshift, objects.redshift)
        prior = draw_prior(options.n_prior, recipe)
        said = {"alone": alone, "told": told}
        for name, known in (("catalogued", objects), ("allowed", best)):
            said[name] = points(known, *prior)
        report(selection, objects, said)
    print("\nsigma_NMAD, abs(dz) > 0.15; ratio with its one-sided 95 % bound, paired bootstrap")


def observe_and_predict(
    n: int, recipe: Recipe, engine: Engine
) -> tuple[Objects, NDArray[np.float64], NDArray[np.float64]]:
    """Simulate objects, and ask the model for redshifts: images alone, told the seeing."""
    edges = np.asarray(engine.model.info.z_edges)
    kept, alone, told = [], [], []
    for chunk in simulate(recipe, n):
        names = [str(each) for each in chunk.object_id]
        for found, fwhm in ((alone, None), (told, chunk.psf_fwhm.astype(np.float32))):
            said = engine.predict(chunk.images, chunk.ebv.astype(np.float32), psf_fwhm=fwhm)
            found.append(summarise(said.mass, edges, names)["z_best"])
        kept.append(replace(chunk, images=chunk.images[:, :0]))  # they would fill the memory
    return catalogued(kept, recipe), np.concatenate(alone), np.concatenate(told)


def points(
    objects: Objects, prior_z: NDArray[np.float64], prior_flux: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Redshifts of a reference, (N,)."""
    flux, error = (each / objects.dimming for each in (objects.flux, objects.error))
    posterior = estimate(flux, error, prior_z, prior_flux)
    z_best: NDArray[np.float64] = summarise(
        posterior.mass, EDGES, [str(row) for row in range(len(flux))]
    )["z_best"]
    return z_best


def report(selection: str, objects: Objects, z_best: dict[str, NDArray[np.float64]]) -> None:
    """Print the rows of a selection."""
    z = objects.redshift
    groups = {"all": np.ones(len(z), dtype=bool)}
    groups |= {f"z {a:g} - {b:g}": (z >= a) & (z < b) for a, b in REDSHIFTS}
    kinds = np.unique(objects.kind)
    if len(kinds) > 1:
        groups |= {str(kind): objects.kind == kind for kind in kinds}
    for name, mine in groups.items():
        if mine.sum() < FEWEST:
            continue
        error = {who: dz(said[mine], z[mine]) for who, said in z_best.items()}
        cells = [f"{sigma_nmad(e):.4f}, {100 * outlier_015(e):.2f} %" for e in error.values()]
        for one, other in (("alone", "catalogued"), ("told", "allowed")):
            found = ratio(error[one][None], error[other][None], sigma_nmad)
            cells.append(f"{found.value:.2f}, at most {found.upper:.2f}")
        print(f"| {selection} | {mine.sum():,} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
