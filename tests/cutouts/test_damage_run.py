"""A short run of benchmarks/damage.py: every layout, damaged in every way."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "damage.py"


def test_a_short_run_of_damage(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--mutations", "200", "--save", str(tmp_path)]
    # How long it takes is for the benchmark to say: processor time, too, is longer beside others.
    command += ["--seconds", "inf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 mutations from number 0, 0 failed" in done.stdout
    assert not any(tmp_path.iterdir())
