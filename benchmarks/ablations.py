"""What each choice of our network buys: the preset `base` with one choice undone at a time.

    photoz-mmae simulate -n 56000 --seed 202 -o mock.hdf5
    python benchmarks/ablations.py mock.hdf5 -o benchmarks/comparison/2000 --training-size 2000

Makes a preset file per row and trains them all with `photoz-mmae compare-models` on the same
objects, by the schedule of `base`. The same command goes on with what was stopped, and adds what is
missing; a new folder needs the row `base`.
"""

import argparse
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

CHANGES: dict[str, dict[str, str]] = {
    "base": {},
    "without-flux-ratios": {"colours": "false"},
    "without-seeing": {"seeing": "false"},
    "apertures-never-hidden": {"hides_fluxes": "false"},
    "without-dropout": {"dropout": "0.0"},
    "without-moved-redshifts": {"redshift_jitter": "0.0"},
    "conditions-not-varied": {"conditions_varied": "0.0"},
    "neither-moved-nor-varied": {"redshift_jitter": "0.0", "conditions_varied": "0.0"},
    "little-weight-on-spectra": {"spectrum_weight": "0.1"},
    "without-spectra": {
        "spectrum_weight": "0.0",
        "spectrum_dropped": "1.0",
        "image_dropped": "0.0",
        "redshift_jitter": "0.0",
    },
    "without-rebuilt-images": {"image_weight": "0.0"},
    "most-patches-hidden": {"image_hidden": "[0.5, 0.95]"},
    "all-bands-always": {"bands_dropped": "0.0"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", default=",".join(CHANGES), help="by default all of them")
    parser.add_argument("--training-size", type=int, default=2000)
    parser.add_argument("--epochs", type=int, help="by default those of the preset")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [write_preset(folder, row, CHANGES[row]) for row in options.rows.split(",")]
        command = ["photoz-mmae", "compare-models", options.data, "-o", options.output]
        command += ["--models", ",".join(map(str, files)), "--seeds", options.seeds]
        command += ["--training-size", options.training_size, "--against", "base"]
        command += ["--validation-size", 2500, "--test-size", 20000]
        command += ["--epochs", options.epochs] if options.epochs else []
        done = subprocess.run([str(word) for word in command], check=False)
    sys.exit(done.returncode)


def write_preset(folder: Path, name: str, changes: dict[str, str]) -> Path:
    """Write `base` with some changes as a preset file."""
    text = (resources.files("photoz_mmae.model") / "presets" / "base.toml").read_text()
    lines = text.splitlines()
    for key, value in changes.items():
        places = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
        if len(places) != 1:
            raise SystemExit(f"{key}: not a key of base.toml")
        lines[places[0]] = f"{key} = {value}"
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    main()
