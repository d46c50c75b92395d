"""What objects without labels add: `base` on a few labelled ones, alone and beside many others.

    photoz-mmae simulate -n 56000 --seed 202 -o mock.hdf5
    python benchmarks/unlabelled.py mock.hdf5 -o benchmarks/comparison

Trains on 2,000 labelled objects, alone and beside 8,000 others whose labels are hidden, with
`photoz-mmae compare-models`; both are tested on the same objects. The same command goes on with
what was stopped. Then it prints a table and the ratios, by paired bootstrap.
"""

import argparse
import subprocess
from pathlib import Path

from photoz_mmae.peers.outcome import Outcome, Tested, load_outcome, load_tested
from photoz_mmae.peers.table import ratio
from photoz_mmae.redshift.metrics import dz, outlier_015, sigma_nmad

LABELLED, UNLABELLED = 2000, 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    alone = train(options.data, options.output / f"{LABELLED}")
    folder = options.output / f"{LABELLED}+{UNLABELLED}"
    more = train(options.data, folder, "--unlabelled-size", str(UNLABELLED))
    report({f"{LABELLED:,} labelled": alone, f"{UNLABELLED:,} unlabelled beside them": more})


def train(data: Path, output: Path, *more: str) -> tuple[Outcome, Tested]:
    """Train what is not there yet."""
    words = ["photoz-mmae", "compare-models", str(data), "-o", str(output), "--models", "base"]
    words += ["--training-size", str(LABELLED), "--validation-size", "2500", "--test-size", "20000"]
    done = subprocess.run([*words, *more], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)
    path = output / "base-seed0.json"
    return load_outcome(path), load_tested(path)


def report(found: dict[str, tuple[Outcome, Tested]]) -> None:
    """Print everything as Markdown."""
    ways = found[next(iter(found))][0].ways
    print(f"| trained on | {' | '.join(ways)} | epochs | |")
    print("|---|" + "---|" * (len(ways) + 2))
    errors = {
        name: {way: dz(tested.z_phot[way], tested.z_true)[None] for way in ways}
        for name, (_, tested) in found.items()
    }
    for name, (outcome, _) in found.items():
        cells = [
            f"{sigma_nmad(e[0]):.4f}, {100 * outlier_015(e[0]):.2f} %"
            for e in errors[name].values()
        ]
        state = "converged" if outcome.converged else "NOT CONVERGED"
        print(f"| {name} | {' | '.join(cells)} | {len(outcome.curve)} | {state} |")
    alone, more = errors.values()
    for name, metric in (("sigma_NMAD", sigma_nmad), ("abs(dz) > 0.15", outlier_015)):
        cells = []
        for way in ways:
            value = ratio(more[way], alone[way], metric)
            cells.append(f"{value.value:.3f}, at most {value.upper:.3f}")
        print(f"| ratio of {name} | {' | '.join(cells)} | | |")


if __name__ == "__main__":
    main()
