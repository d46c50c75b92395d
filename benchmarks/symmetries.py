"""Whether averaging p(z) over the eight symmetries of an image makes redshifts better: mock data.

python benchmarks/symmetries.py --model base
"""

import argparse

import numpy as np
import torch

from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import find_model
from photoz_mmae.model.weights import load_model
from photoz_mmae.redshift.metrics import dz, outlier_015, sigma_nmad
from photoz_mmae.redshift.pdf import summarise
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import get_survey

NUMBERS = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=43)
    options = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine(load_model(find_model(options.model)), "cpu", masks=0)
    info = engine.model.info
    sums: dict[int, list[np.ndarray]] = {number: [] for number in NUMBERS}
    truth = []
    for mock in simulate(Recipe(get_survey(info.survey), options.seed), options.n):
        total = 0.0
        for turn in range(max(NUMBERS)):
            images = np.rot90(mock.images, turn % 4, axes=(2, 3))
            images = images[..., ::-1] if turn >= 4 else images
            mass = engine.predict(np.ascontiguousarray(images), mock.ebv.astype("f4")).mass
            assert mass is not None, "a model that gives p(z)"
            total = total + mass
            if turn + 1 in sums:
                sums[turn + 1].append(total / (turn + 1))
        truth.append(mock.redshift)
    z = np.concatenate(truth)
    print(f"{len(z)} mock objects (seed {options.seed}), model {info.name}, median of p(z)")
    print("| symmetries averaged | sigma_NMAD | abs(dz) > 0.15 |")
    print("|---|---|---|")
    for number, masses in sums.items():
        names = [str(row) for row in range(len(z))]
        points = summarise(np.concatenate(masses), np.asarray(info.z_edges), names)["z_median"]
        errors = dz(points, z)
        print(f"| {number} | {sigma_nmad(errors):.4f} | {100 * outlier_015(errors):.2f} % |")


if __name__ == "__main__":
    main()
