"""How hard a mock survey is: nearest neighbours on measured colours and magnitudes.

Aperture photometry from the noisy images of two training files, then the median redshift of the
nearest training objects. Run by hand:

    python benchmarks/knn_reference.py --train mock1.hdf5 --test mock2.hdf5
    python benchmarks/knn_reference.py --seed 1        (generates the two: 20,000 and 5,000)
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.simulation.write import TrainingFile
from photoz_mmae.surveys import HSC_WIDE, ZERO_POINT

N_TRAIN, N_TEST = 20_000, 5_000
SMALL_DIAMETER, LARGE_DIAMETER = 2.0, 4.0  # arcsec
NEIGHBOURS = 12
BINS = ((0.0, 0.4), (0.4, 1.0), (1.0, 4.5), (0.0, 4.5))


def measure(path: Path, limit: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (N, 6), i, four colours and i in the larger aperture, and redshifts (N,)."""
    with h5py.File(path) as file:
        redshift = file["DESI_fibermap/DESI_redshift"][:limit]
        images = file["image"]
        centre = (images.shape[-1] - 1) / 2.0
        y, x = np.indices(images.shape[-2:])
        radius = np.hypot(y - centre, x - centre) * HSC_WIDE.pixel_scale
        apertures = np.stack([radius < d / 2.0 for d in (SMALL_DIAMETER, LARGE_DIAMETER)], axis=-1)
        fluxes = np.concatenate(
            [
                np.einsum("nbyx,yxa->nba", images[first : first + 500], apertures, optimize=True)
                for first in range(0, len(redshift), 500)
            ]
        )[: len(redshift)]  # (N, B, 2)
    # asinh magnitudes: a flux of zero or below has one too.
    noise = np.array(HSC_WIDE.negative_std)[:, None] / 0.603 * np.sqrt(apertures.sum((0, 1)))
    mag = ZERO_POINT - 1.0857 * (np.arcsinh(fluxes / (2.0 * noise)) + np.log(noise))
    features = np.column_stack([mag[:, 2, 0], -np.diff(mag[:, :, 0], axis=1), mag[:, 2, 1]])
    return features, redshift.astype(np.float64)


def predict(
    train: NDArray[np.float64], redshift: NDArray[np.float64], test: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Median redshift (N,) of the nearest training objects in standardised features."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    _, index = cKDTree((train - mean) / scale).query((test - mean) / scale, k=NEIGHBOURS)
    return np.median(redshift[index], axis=1)


def report(predicted: NDArray[np.float64], redshift: NDArray[np.float64]) -> None:
    dz = (predicted - redshift) / (1.0 + redshift)
    print(f"{'z':>10} {'n':>6} {'sigma_NMAD':>11} {'bias':>8} {'|dz|>0.15':>10}")
    for low, high in BINS:
        mine = dz[(redshift >= low) & (redshift < high)]
        bias = np.median(mine)
        sigma = 1.4826 * np.median(np.abs(mine - bias))
        name = "all" if (low, high) == BINS[-1] else f"{low:g}-{high:g}"
        share = np.mean(np.abs(mine) > 0.15)
        print(f"{name:>10} {len(mine):6d} {sigma:11.4f} {bias:+8.4f} {share:10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, (given, n) in enumerate(((arguments.train, N_TRAIN), (arguments.test, N_TEST))):
            path, seed = given or Path(folder) / f"mock{number}.hdf5", arguments.seed + number
            if given is None:
                recipe = Recipe(HSC_WIDE, seed)
                with TrainingFile(path, n, recipe, overwrite=False) as file:
                    for chunk in simulate(recipe, n, arguments.workers):
                        file.add(chunk)
            paths.append(path)
        train, train_z = measure(paths[0], N_TRAIN)
        test, test_z = measure(paths[1], N_TEST)
    report(predict(train, train_z, test), test_z)


if __name__ == "__main__":
    main()
