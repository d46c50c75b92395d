"""The mock survey's renderer against GalSim, how alike and how fast; how `simulate` scales.

    python benchmarks/rendering.py                         the first two
    python benchmarks/rendering.py --scaling 2000 20000    the last

The galaxies are mock data, bulge and disk as the population has them, without clumps and
neighbours, each through a PSF of the pool. Accuracy is against GalSim with tight parameters; speed
against its default ones, the same galaxies in all bands, interleaved rounds, one thread.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import galsim
import numpy as np
import torch
from numpy.typing import NDArray

from photoz_mmae.simulation.exposure import expose
from photoz_mmae.simulation.observe import light_of
from photoz_mmae.simulation.pointing import draw_pointings, get_conditions
from photoz_mmae.simulation.population import QSO, draw_targets
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.render import STAMP, render
from photoz_mmae.simulation.scene import place
from photoz_mmae.simulation.sources import Clumps, Sources
from photoz_mmae.surveys import HSC_WIDE

CENTRE = (STAMP - 1) / 2.0
BANDS = len(HSC_WIDE.bands)
NO_CLUMPS = Clumps(np.zeros(0, dtype=np.int64), *np.zeros((3, 0)), np.zeros((0, BANDS)))
PSFS = get_conditions(HSC_WIDE).psfs
TIGHT = galsim.GSParams(
    folding_threshold=1e-3, maxk_threshold=1e-4, kvalue_accuracy=1e-6, maximum_fft_size=16384
)
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass
class Stamps:
    """One galaxy on each of N stamps: its bulge and disk, and its row (N,) of the pool of PSFs."""

    sources: Sources
    patch: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.patch)

    def render(self) -> NDArray[np.float32]:
        """Images (N, B, 64, 64) of ours, without noise."""
        images = render(self.sources, NO_CLUMPS, len(self), PSFS, self.patch)
        return images.numpy()

    def parts(self, row: int) -> Sources:
        """Bulge and disk of one galaxy."""
        return self.sources.take(np.flatnonzero(self.sources.stamp == row))


def draw_stamps(n: int, seed: int) -> Stamps:
    """Draw `n` galaxies of the mock population, quasars left out."""
    rng = np.random.default_rng(seed)
    targets = draw_targets(rng, 2 * n, Recipe(HSC_WIDE, seed))
    targets.galaxies.clumpiness[:] = 0.0
    size = len(targets)
    sources, _, _ = place(
        rng,
        HSC_WIDE,
        targets.galaxies,
        light_of(targets, HSC_WIDE).parts,
        offset=rng.uniform(-0.48, 0.48, (size, 2)),
        reddening=np.ones((size, BANDS)),
    )
    row = np.full(size, -1)
    chosen = np.flatnonzero(targets.kind != QSO)[:n]
    row[chosen] = np.arange(n)
    sources = sources.take(np.flatnonzero(row[sources.stamp] >= 0))
    sources.stamp = row[sources.stamp]
    return Stamps(sources, draw_pointings(rng, n).patch)


def draw_with_galsim(
    parts: Sources, patch: int, bands: list[int], params: galsim.GSParams | None = None
) -> NDArray[np.float64]:
    """Draw one galaxy in some bands, (bands, 64, 64); `params` None are GalSim's own."""
    profiles = [
        galsim.Sersic(n=index, half_light_radius=radius * np.sqrt(ratio), gsparams=params)
        .shear(q=ratio, beta=angle * galsim.radians)
        .shift(x - CENTRE, y - CENTRE)
        for x, y, radius, index, ratio, angle in zip(
            parts.x, parts.y, parts.radius, parts.index, parts.ratio, parts.angle, strict=True
        )
    ]
    images = []
    for band in bands:
        ratio = PSFS.ratio[patch, band]
        psf = galsim.Moffat(
            beta=3, fwhm=PSFS.fwhm[patch, band] * np.sqrt(ratio), gsparams=params
        ).shear(q=ratio, beta=PSFS.angle[patch, band] * galsim.radians)
        galaxy = galsim.Sum(
            [profile * flux for profile, flux in zip(profiles, parts.flux[:, band], strict=True)]
        )
        seen = galsim.Convolve(galaxy, psf)
        images.append(seen.drawImage(nx=STAMP, ny=STAMP, scale=1.0, dtype=float).array)
    return np.stack(images)


def compare(stamps: Stamps, band: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Relative error (N,) of the flux on the stamp, and largest residual over the peak (N,)."""
    ours = stamps.render()[:, band]
    theirs = np.stack(
        [
            draw_with_galsim(stamps.parts(row), stamps.patch[row], [band], TIGHT)[0]
            for row in range(len(stamps))
        ]
    )
    flux = ours.sum(axis=(1, 2), dtype=float) / theirs.sum(axis=(1, 2)) - 1.0
    residual = np.abs(ours - theirs).max(axis=(1, 2)) / theirs.max(axis=(1, 2))
    return flux, residual


def report_accuracy(stamps: Stamps, band: int) -> None:
    flux, residual = compare(stamps, band)
    name = HSC_WIDE.bands[band]
    print(f"{len(stamps)} mock galaxies in {name} against GalSim with tight parameters\n")
    print("| | " + " | ".join(f"{100 * q:g} %" for q in QUANTILES[:-1]) + " | worst |")
    print("|---" * (len(QUANTILES) + 1) + "|")
    for title, values in (("abs(flux difference)", np.abs(flux)), ("residual / peak", residual)):
        print(
            f"| {title} | " + " | ".join(f"{v:.1e}" for v in np.quantile(values, QUANTILES)) + " |"
        )
    print()
    for title, row in (("flux", np.abs(flux).argmax()), ("residual", residual.argmax())):
        parts = stamps.parts(row)
        made_of = "; ".join(
            f"n {index:.2f}, radius {radius:.2f} px, ratio {ratio:.2f}, share {share:.2f}"
            for index, radius, ratio, share in zip(
                parts.index,
                parts.radius,
                parts.ratio,
                parts.flux[:, band] / parts.flux[:, band].sum(),
                strict=True,
            )
        )
        print(
            f"worst {title}: galaxy {row}, flux {flux[row]:+.1e}, residual {residual[row]:.1e}: "
            f"{made_of}; FWHM {PSFS.fwhm[stamps.patch[row], band]:.2f} px"
        )


def report_speed(stamps: Stamps, rounds: int) -> None:
    """Print galaxies per second in all bands."""
    rng = np.random.default_rng(0)

    def galsim_default(decimals: int) -> None:
        for row in range(len(stamps)):
            parts = stamps.parts(row)
            parts.index = np.round(parts.index, decimals)
            draw_with_galsim(parts, stamps.patch[row], list(range(BANDS)))

    def ours_with_noise() -> None:
        expose(rng, HSC_WIDE, stamps.sources, NO_CLUMPS, stamps.patch, "cpu")

    contenders: dict[str, Callable[[], object]] = {
        "GalSim, default": lambda: galsim_default(decimals=9),
        # It makes a table per Sersic index: a few indices, each in the cache, are its best case.
        "GalSim, default, indices rounded to 0.1": lambda: galsim_default(decimals=1),
        "render": stamps.render,
        "expose (render and noise)": ours_with_noise,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, draw in contenders.items():
            start = time.perf_counter()
            draw()
            rates[name].append(len(stamps) / (time.perf_counter() - start))
    base = median(rates["GalSim, default"][1:])
    print(f"\nThe same galaxies in {BANDS} bands, one thread, medians of {rounds} rounds in turn\n")
    print("| | galaxies/s | ratio |")
    print("|---|---|---|")
    for name, values in rates.items():
        # The first round warms up.
        print(f"| {name} | {median(values[1:]):,.1f} | {median(values[1:]) / base:.0f} |")


def report_scaling(sizes: list[int]) -> None:
    """Print CPU time and peak memory of `photoz-mmae simulate` with one worker, start included."""
    print("| mock objects | CPU-seconds | per 1,000 objects | peak memory |")
    print("|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "photoz_mmae.cli.main", "simulate", "-n", str(size)]
            command += ["--seed", "1", "--workers", "1", "-o", str(Path(folder) / "mock.hdf5")]
            silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
            process = os.posix_spawn(sys.executable, command, os.environ, file_actions=silence)
            _, status, usage = os.wait4(process, 0)
        if status:
            sys.exit(f"simulate -n {size} failed")
        seconds = usage.ru_utime + usage.ru_stime
        memory = usage.ru_maxrss / 1024
        print(f"| {size:,} | {seconds:.1f} | {1000 * seconds / size:.3f} | {memory:.0f} MiB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=200, help="galaxies (200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--band", choices=HSC_WIDE.bands, default="i", help="i has the best seeing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scaling", type=int, nargs="+", metavar="SIZE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.scaling:
        report_scaling(options.scaling)
        return
    stamps = draw_stamps(options.n, options.seed)
    report_accuracy(stamps, HSC_WIDE.bands.index(options.band))
    report_speed(stamps, options.rounds)


if __name__ == "__main__":
    main()
