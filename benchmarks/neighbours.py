"""How well BLENDED and TRUNCATED tell the truth: mock stamps with and without neighbours.

python benchmarks/neighbours.py

A blend: neighbours give more than 5 (10) per cent of the i-band light in the aperture. Too large:
more than a quarter of the target's i-band light lies outside the stamp.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import Wanted, empty_batch
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER, measure_batch
from photoz_mmae.flags import Flag
from photoz_mmae.simulation.exposure import expose
from photoz_mmae.simulation.observe import CHUNK, draw_scene
from photoz_mmae.simulation.pointing import get_conditions
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP, render
from photoz_mmae.simulation.sources import Clumps, join
from photoz_mmae.surveys import HSC_WIDE

I_BAND = HSC_WIDE.bands.index("i")
CENTRE = (STAMP - 1) / 2

Floats = NDArray[np.floating]


@dataclass
class Scenes:
    """N mock stamps with noise (N, B, S, S); in i without it: target, neighbours, total flux."""

    images: Floats
    target: Floats
    neighbours: Floats
    total: Floats
    offset: Floats


def scenes(n: int, seed: int, selection: str) -> Scenes:
    """Draw stamps as the mock survey does, but keep apart what is on them."""
    survey = HSC_WIDE
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, Recipe(survey, seed, selection), n, chunk=0)
    patch, psfs = scene.pointings.patch, get_conditions(survey).psfs
    images = expose(rng, survey, join(scene.own, scene.neighbours), scene.clumps, patch, "cpu")
    nothing = np.zeros(0)
    none = Clumps(nothing.astype(np.int64), nothing, nothing, nothing, np.zeros((0, 5)))
    target, neighbours = (
        render(sources, clumps, n, psfs, patch, "cpu")[:, I_BAND].numpy()
        for sources, clumps in ((scene.own, scene.clumps), (scene.neighbours, none))
    )
    return Scenes(images, target, neighbours, scene.total[:, I_BAND], scene.offset)


def judge(drawn: Scenes) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Return flags (N,), the neighbours' share of the aperture's light, the share in the stamp."""
    survey = HSC_WIDE
    n = len(drawn.images)
    batch = empty_batch([""] * n, Wanted(survey.bands, STAMP, survey.pixel_scale))
    batch.images = drawn.images.astype(np.float32)
    batch.x, batch.y = CENTRE + drawn.offset.T
    measure_batch(batch, survey.bands)
    rows, columns = np.indices((STAMP, STAMP))
    dx, dy = (
        axis[None] - centre[:, None, None] for axis, centre in ((columns, batch.x), (rows, batch.y))
    )
    radius = APERTURE_DIAMETER / 2 / survey.pixel_scale
    inside = np.clip(radius - np.hypot(dx, dy) + 0.5, 0, 1)
    mine, others = ((image * inside).sum((1, 2)) for image in (drawn.target, drawn.neighbours))
    return batch.flags, others / (mine + others), drawn.target.sum((1, 2)) / drawn.total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=10, help=f"of {CHUNK} stamps")
    parser.add_argument("--seed", type=int, default=500)
    arguments = parser.parse_args()
    print("| targets | stamps | flag | truth | true | flagged | purity | completeness |")
    print("|---|---|---|---|---|---|---|---|")
    for selection in ("desi", "magnitude:23"):
        seeds = range(arguments.seed, arguments.seed + arguments.chunks)
        judged = [judge(scenes(CHUNK, seed, selection)) for seed in seeds]
        flags, share, kept = (np.concatenate(column) for column in zip(*judged, strict=True))
        for flag, words, truth in (
            (Flag.BLENDED, "neighbours > 5 %", share > 0.05),
            (Flag.BLENDED, "neighbours > 10 %", share > 0.1),
            (Flag.TRUNCATED, "> 25 % outside", kept < 0.75),
        ):
            found = flags & flag != 0
            both = (found & truth).sum()
            print(
                f"| {selection} | {len(flags)} | {flag.name} | {words} | {truth.mean():.1%} "
                f"| {found.mean():.1%} | {both / found.sum():.2f} | {both / truth.sum():.2f} |"
            )


if __name__ == "__main__":
    main()
