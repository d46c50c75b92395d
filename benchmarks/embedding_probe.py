"""What embeddings hold: nearest neighbours of mock galaxies tell redshift, class and morphology.

python benchmarks/embedding_probe.py
python benchmarks/embedding_probe.py mock.hdf5 --model models/mine

A k-NN probe in the manner of AstroCLIP's zero-shot tests (arXiv:2310.03024): neighbours weighted by
inverse distance, nothing trained (its public code takes 64 of them). Every feature is standardised
over the reference objects. The other rows are what the same neighbours can tell without a network.
Images are corrected for the Galaxy's dust as the model wants it, for all rows.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.info import find_model
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.model.stretch import Stretch
from photoz_mmae.model.tokens import APERTURE_RADII, FluxToken
from photoz_mmae.model.weights import load_model
from photoz_mmae.redshift.metrics import point_metrics
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import get_survey
from photoz_mmae.training_sets.galaxiesml import SpectraFile

CHUNK = 500
TEST_SHARE = 0.25
ONE_APERTURE = 2
"""Of APERTURE_RADII: 1.3"."""

Floats = NDArray[np.float64]
# Images (n, B, S, S), E(B-V) (n,), redshifts (n,), classes (n,), morphologies (n,).
Chunk = tuple[NDArray[np.float32], NDArray[np.float32], Floats, NDArray[np.str_], NDArray[np.str_]]


def from_file(path: Path, n: int) -> Iterator[Chunk]:
    """Yield objects of a file that `photoz-mmae simulate -o` wrote, those with redshift."""
    file = SpectraFile(path)
    file.load_ebv()
    classes, morphtypes = file.classes(), file.column("DESI_fibermap/MORPHTYPE")
    if file.ebv is None or classes is None or morphtypes is None:
        raise SystemExit(f"{path}: no simulation/class or DESI_fibermap/MORPHTYPE")
    good = np.flatnonzero(np.isfinite(file.redshift))[:n]
    for rows in np.split(good, range(CHUNK, len(good), CHUNK)):
        images = file.read(rows, "relative").image.numpy()
        kinds = morphtypes[rows].astype("S").astype(str)
        yield images, file.ebv[rows], file.redshift[rows], classes[rows], kinds


def from_simulation(survey: str, seed: int, n: int) -> Iterator[Chunk]:
    """Yield mock objects."""
    for mock in simulate(Recipe(get_survey(survey), seed), n):
        ebv, kinds = mock.ebv.astype(np.float32), mock.morphtype.astype(str)
        yield mock.images, ebv, mock.redshift, mock.kind, kinds


class Apertures:
    """Aperture fluxes at arcsinh, of images corrected for dust.

    Parameters
    ----------
    engine : Engine
        Its model says what the images are.
    """

    def __init__(self, engine: Engine) -> None:
        info = engine.model.info
        self._dust = Dust(info.dust, info.extinction)
        self._bands = len(info.bands)
        frame = {"image_size": info.image_size, "pixel_scale": info.pixel_scale}
        self._token = FluxToken(MMAENetwork(bands=self._bands, **frame))
        self._stretch: Stretch | None = None

    def measure(self, images: NDArray[np.float32], ebv: NDArray[np.float32]) -> Floats:
        """(n, B, S, S), (n,) -> (n, B, A)."""
        clear, _ = self._dust.prepare(torch.from_numpy(images), torch.from_numpy(ebv))
        if self._stretch is None:
            self._stretch = Stretch(self._bands)
            self._stretch.fit(clear)
        features = self._token.features(clear, self._stretch.noise)
        number = self._bands * len(APERTURE_RADII)
        return features[:, :number].reshape(len(images), self._bands, -1).double().numpy()


def redshifts(engine: Engine, images: NDArray[np.float32], ebv: NDArray[np.float32]) -> Floats:
    """Redshifts of the model itself, (n,)."""
    answer = engine.predict(images, ebv)
    if answer.mass is None:
        return np.asarray(answer.z_point, np.float64)
    edges = np.asarray(engine.model.info.z_edges)
    points = summarise(answer.mass, edges, [str(row) for row in range(len(images))])
    return np.asarray(points["z_best"], np.float64)


def row(name: str, *cells: str) -> None:
    """Print one line of the table."""
    print(f"| {name} | {' | '.join(cells)} |".replace("%", " %"))


def scatter(z_phot: Floats, z: Floats) -> str:
    scores = point_metrics(z_phot, z)
    return f"{scores['sigma_nmad']:.4f} | {scores['outlier_015']:.2%}"


def accuracy(found: NDArray[np.str_], true: NDArray[np.str_]) -> str:
    return f"{np.mean(found == true):.1%}, {balanced_accuracy_score(true, found):.1%}"


def probe(
    features: Floats, z: Floats, labels: list[NDArray[np.str_]], reference: int, k: int
) -> list[str]:
    """Let the first `reference` objects tell of the others: (N, F) -> cells of the table."""
    known = features[:reference]
    scaled = (features - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-9)
    known, asked = scaled[:reference], scaled[reference:]
    regressor = KNeighborsRegressor(k, weights="distance").fit(known, z[:reference])
    cells = [scatter(regressor.predict(asked), z[reference:])]
    for label in labels:
        classifier = KNeighborsClassifier(k, weights="distance").fit(known, label[:reference])
        cells.append(accuracy(classifier.predict(asked), label[reference:]))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="as `photoz-mmae simulate -o` writes")
    parser.add_argument("--model", default="base")
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=51, help="of the mock objects, without FILE")
    parser.add_argument("-k", type=int, default=16, help="neighbours")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine(load_model(find_model(arguments.model)), "cpu", masks=0)
    apertures = Apertures(engine)
    if arguments.file is None:
        chunks = from_simulation(engine.model.info.survey, arguments.seed, arguments.n)
    else:
        chunks = from_file(arguments.file, arguments.n)
    collected = [
        (
            engine.embed(images, ebv).astype(np.float64),
            apertures.measure(images, ebv),
            redshifts(engine, images, ebv),
            *truth,
        )
        for images, ebv, *truth in chunks
    ]
    embedding, fluxes, z_best, z, kind, morphtype = (
        np.concatenate(values) for values in zip(*collected, strict=True)
    )
    n, labels = len(z), [kind, morphtype]
    reference = n - int(TEST_SHARE * n)
    print(
        f"{reference} reference and {n - reference} test objects, mock data; k = {arguments.k}; "
        f"model {engine.model.info.name}\n"
    )
    names = ("sigma_NMAD", "abs(dz) > 0.15", "class: accuracy, balanced", "morphology: the same")
    row("neighbours by", *names)
    row("---", *["---"] * len(names))
    one = f'arcsinh fluxes in one aperture, radius {APERTURE_RADII[ONE_APERTURE]}"'
    for name, features in (
        (f"embedding ({embedding.shape[1]} numbers)", embedding),
        (f"arcsinh fluxes in {len(APERTURE_RADII)} apertures", fluxes.reshape(n, -1)),
        (one, fluxes[:, :, ONE_APERTURE]),
    ):
        row(name, *probe(features, z, labels, reference, arguments.k))
    commonest = []
    for label in labels:
        values, counts = np.unique(label[:reference], return_counts=True)
        guess = np.full(n - reference, values[counts.argmax()])
        commonest.append(accuracy(guess, label[reference:]))
    row("none: the commonest", "-", "-", *commonest)
    row("none: the model's redshift head", scatter(z_best[reference:], z[reference:]), "-", "-")


if __name__ == "__main__":
    main()
