"""How accuracy goes with the number of training objects, and with the size of the network.

    photoz-mmae simulate -n 56000 --seed 202 -o mock.hdf5
    python benchmarks/scaling.py mock.hdf5 -o benchmarks/comparison
    python benchmarks/scaling.py -o benchmarks/comparison --plot docs/scaling.png

Trains the preset `base` on 2,000, 8,000 and 30,000 objects, and on 8,000 at half its width and at
one and a half times, with `photoz-mmae compare-models`, and `colours`, a dense network on aperture
magnitudes, beside it, each to the end of its schedule; all are tested on the same objects. The same
command goes on with what was stopped. Then it prints a table and the power law through the two
largest sizes; --plot draws accuracy against training objects and against parameters. Without the
data it trains nothing, and shows what is there.
"""

import argparse
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from ablations import write_preset

from photoz_mmae.peers.outcome import Outcome, load_outcome, load_tested
from photoz_mmae.redshift.metrics import dz, outlier_015, sigma_nmad

SIZES = (2000, 8000, 30000)
NETWORKS = ("base", "colours")
WIDTHS, WIDTHS_SIZE = {"narrow": "48", "wide": "144"}, 8000
RESAMPLINGS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    widths = options.output / "widths"
    if options.data is not None:
        for size in SIZES:
            train(options.data, options.output / str(size), list(NETWORKS), size)
        with tempfile.TemporaryDirectory() as presets:
            files = [write_preset(Path(presets), n, {"width": w}) for n, w in WIDTHS.items()]
            train(options.data, widths, list(map(str, files)), WIDTHS_SIZE)
    paths = [
        (size, options.output / str(size) / f"{name}-seed0.json")
        for size in SIZES
        for name in NETWORKS
    ]
    paths += [(WIDTHS_SIZE, widths / f"{name}-seed0.json") for name in WIDTHS]
    absent = [str(path) for _, path in paths[: len(SIZES) * len(NETWORKS)] if not path.exists()]
    if absent:
        raise SystemExit(f"{', '.join(absent)}: not there; give the data, to train what is missing")
    found = [(size, *accuracy(path)) for size, path in paths if path.exists()]
    report(found)
    if options.plot:
        plot(found, options.plot)


def train(data: Path, output: Path, models: list[str], size: int) -> None:
    """Train what is missing."""
    words = ["photoz-mmae", "compare-models", str(data), "-o", str(output)]
    words += ["--models", ",".join(models)]
    words += ["--training-size", str(size), "--validation-size", "2500", "--test-size", "20000"]
    done = subprocess.run(words, check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)


def accuracy(path: Path) -> tuple[Outcome, float, float, float]:
    """Outcome; sigma_NMAD, its standard error by bootstrap, abs(dz) > 0.15, of whole images."""
    tested = load_tested(path)
    errors = dz(tested.z_phot["whole image"], tested.z_true)
    rng = np.random.default_rng(0)
    drawn = [sigma_nmad(rng.choice(errors, len(errors))) for _ in range(RESAMPLINGS)]
    return load_outcome(path), sigma_nmad(errors), float(np.std(drawn)), outlier_015(errors)


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of the power law through the last two."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def report(found: list[tuple[int, Outcome, float, float, float]]) -> None:
    """Print everything as Markdown."""
    print("| network | training objects | epochs | parameters | sigma_NMAD | abs(dz) > 0.15 | |")
    print("|---|---|---|---|---|---|---|")
    for size, outcome, sigma, error, outliers in found:
        state = "converged" if outcome.converged else "NOT CONVERGED"
        print(
            f"| {outcome.model} | {size:,} | {len(outcome.curve)} | {outcome.parameters:,} "
            f"| {sigma:.4f} ± {error:.4f} | {outliers:.2%} | {state} |".replace("% |", " % |")
        )
    for name in NETWORKS:
        mine = [(size, sigma, bad) for size, o, sigma, _, bad in found if o.model == name]
        sizes, sigmas, outliers = (list(column) for column in zip(*mine, strict=True))
        for what, values in (("sigma_NMAD", sigmas), ("abs(dz) > 0.15", outliers)):
            power = exponent(sizes, values)
            print(
                f"{name}: {what} goes as N^{power:.2f} at the end: times {10**power:.2f} for ten "
                "times the objects, if it goes on so"
            )


def plot(found: list[tuple[int, Outcome, float, float, float]], path: Path) -> None:
    """Draw accuracy against training objects, and against parameters."""
    from photoz_mmae.evaluation.style import new_figure, styled

    with styled():
        figure = new_figure(4.0)
        ours = sorted(
            (o.parameters, s, e, o.model)
            for size, o, s, e, _ in found
            if size == WIDTHS_SIZE and o.model != "colours"
        )
        panels = figure.subplots(1, min(2, len(ours)), sharey=True, squeeze=False)[0]
        by_size = panels[0]
        for name, colour, mark in (("base", "#0072B2", "o"), ("colours", "#D55E00", "s")):
            mine = [(size, s, e) for size, o, s, e, _ in found if o.model == name]
            sizes, sigmas, errors = zip(*mine, strict=True)
            by_size.errorbar(sizes, sigmas, errors, color=colour, marker=mark, label=name)
        by_size.set(xlabel="training objects (mock)", ylabel="sigma_NMAD", xscale="log")
        by_size.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        by_size.legend()
        for by_width in panels[1:]:
            parameters, sigmas, errors, names = zip(*ours, strict=True)
            by_width.errorbar(parameters, sigmas, errors, marker="o")
            for at, sigma, name in zip(parameters, sigmas, names, strict=True):
                by_width.annotate(name, (at, sigma), (6, 6), textcoords="offset points")
            by_width.set(xlabel="parameters, 8,000 training objects (mock)", xscale="log")
            by_width.set_xticks(parameters, [f"{number / 1e6:.1f} M" for number in parameters])
            by_width.margins(x=0.15)
        for panel in panels:
            panel.minorticks_off()
        figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
