"""What Galactic dust does to the redshifts of a model: the same mock galaxies behind two E(B-V).

python benchmarks/dust.py --model base
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import find_model
from photoz_mmae.model.weights import load_model
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import get_survey


def redshifts(
    engine: Engine, n: int, seed: int, ebv: float, told: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """z_best and z_std (n,) of `n` mock objects behind `ebv`."""
    info = engine.model.info
    best, std = [], []
    for mock in simulate(Recipe(get_survey(info.survey), seed, ebv=ebv), n):
        known = np.full(len(mock), ebv if told else np.nan, np.float32)
        mass = engine.predict(mock.images, known).mass
        assert mass is not None, "a model that gives p(z)"
        points = summarise(mass, np.asarray(info.z_edges), [str(i) for i in mock.object_id])
        best.append(points["z_best"])
        std.append(points["z_std"])
    return np.concatenate(best), np.concatenate(std)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--ebv", type=float, default=0.15)
    arguments = parser.parse_args()
    engine = Engine(load_model(find_model(arguments.model)), "cpu", masks=0)
    clear, std = redshifts(engine, arguments.n, arguments.seed, 0.0, told=True)
    print(
        f"{arguments.n} mock objects, E(B-V) {arguments.ebv:g} against 0, model {arguments.model}"
    )
    for told in (True, False):
        dusty, _ = redshifts(engine, arguments.n, arguments.seed, arguments.ebv, told)
        shift = (dusty - clear) / std
        print(
            f"E(B-V) {'given' if told else 'not given'}: z_best moves by "
            f"{np.median(np.abs(shift)):.3f} z_std in the median (signed {np.median(shift):+.3f})"
        )


if __name__ == "__main__":
    main()
