"""What missing pixels cost: mock galaxies whole, damaged, and damaged with the network told so.

python benchmarks/missing_pixels.py

"zeros" is what a network sees that is not told which pixels are missing; "told" is what `predict`
does (`photoz_mmae.inference.missing`).
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.placing import corner, place
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import find_model
from photoz_mmae.model.weights import load_model
from photoz_mmae.redshift.metrics import point_metrics
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import get_survey

DEFECTS = ("nan_edge", "trimmed", "off_centre", "masked_strip")
BORDERS = (1, 4, 12)

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def placed(mock: MockChunk) -> tuple[Floats, Bools]:
    """Images with the targets in the middle, as `predict` reads them, and what is missing."""
    images = np.zeros_like(mock.images)
    missing = np.zeros(images.shape, bool)
    size = images.shape[-1]
    for row, (dx, dy) in enumerate(mock.offset):
        left, bottom = (corner((size - 1) / 2 + shift, size) for shift in (dx, dy))
        place(mock.images[row], left, bottom, 1.0, images[row], missing[row])
    return images, missing


def report(name: str, z_best: list[Floats], z: NDArray[np.float64], rows: Bools) -> None:
    """Print one line of the table."""
    cells = []
    for values in z_best:
        scores = point_metrics(values[rows], z[rows])
        cells.append(f"{scores['sigma_nmad']:.4f}, {scores['outlier_015']:.2%}")
    print(f"| {name} | {rows.sum()} | {' | '.join(cells)} |".replace("%", " %"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("-n", type=int, default=3500)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    engine = Engine(load_model(find_model(arguments.model)), "cpu", masks=0)
    edges = np.asarray(engine.model.info.z_edges)

    def redshifts(images: Floats, ebv: NDArray[np.float64], missing: Bools | None) -> Floats:
        mass = engine.predict(images, ebv.astype(np.float32), missing).mass
        assert mass is not None, "a model that gives p(z)"
        z_best: Floats = summarise(mass, edges, [str(row) for row in range(len(mass))])["z_best"]
        return z_best

    survey = get_survey(engine.model.info.survey)
    damaged, borders = [], []
    for whole, bad in zip(
        simulate(Recipe(survey, arguments.seed), arguments.n),
        simulate(Recipe(survey, arguments.seed, fraction_bad=1.0), arguments.n),
        strict=True,
    ):
        clear = redshifts(placed(whole)[0], whole.ebv, None)
        images, missing = placed(bad)
        spoilt = redshifts(images, bad.ebv, None), redshifts(images, bad.ebv, missing)
        damaged.append((bad.redshift, bad.defect, clear, *spoilt))
        for width in BORDERS:
            around = np.ones(whole.images.shape, bool)
            around[:, :, width:-width, width:-width] = False
            images = np.where(around, 0, whole.images)
            small = redshifts(images, whole.ebv, None), redshifts(images, whole.ebv, around)
            borders.append((whole.redshift, np.full(len(whole), width), clear, *small))
    print("| what is missing | objects | nothing missing | zeros | told |\n|---|---|---|---|---|")
    z, defect, *found = (np.concatenate(column) for column in zip(*damaged, strict=True))
    for name in DEFECTS:
        report(name, found, z, defect == name)
    z, widths, *found = (np.concatenate(column) for column in zip(*borders, strict=True))
    for width in BORDERS:
        report(f"{width} px on every side", found, z, widths == width)


if __name__ == "__main__":
    main()
