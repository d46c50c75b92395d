"""The wheel alone, away from the checkout: it has a model, and predicts with it."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel and unpack it; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_the_wheel_predicts_with_its_own_model(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words: str) -> str:
        program = "import photoz_mmae, photoz_mmae.cli.main as m; print(photoz_mmae.__file__); "
        command = [sys.executable, "-c", program + "m.main()", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(installed) in run("simulate", "-n", "4", "--cutouts", "cutouts")
    run("predict", "cutouts", "-o", "catalog.parquet", "--workers", "1")
    table = pq.read_table(tmp_path / "catalog.parquet", columns=["z_best"])
    assert table.num_rows == 4
    assert table["z_best"].null_count == 0
