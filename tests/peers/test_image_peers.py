"""Peers that see images only, through the command: they train, are tested, and are kept."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from blobs import run

PEERS = ("inception", "bcnn", "colours")


def compare(file, output, models, *more):
    words = ("--models", models, "--device", "cpu", "-o", output)
    return run("compare-models", file, *words, *more)


@pytest.fixture(scope="module")
def report(training_file, tmp_path_factory):
    """Folder of two epochs of every peer."""
    folder = tmp_path_factory.mktemp("report")
    assert compare(training_file, folder, ",".join(PEERS), "--epochs", "2") == 0
    return folder


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_trained_and_tested(report, name):
    outcome = json.loads((report / f"{name}-seed0.json").read_text())
    table = pq.read_table(report / f"{name}-seed0.parquet")
    assert outcome["model"] == name
    assert [point["epoch"] for point in outcome["curve"]] == [1, 2]
    assert outcome["curve"][1]["loss"] != outcome["curve"][0]["loss"]
    assert not outcome["converged"]
    z_phot = table["whole image"].to_numpy()
    assert len(z_phot) > 0
    assert np.isfinite(z_phot).all()
    assert z_phot.std() > 0


def test_what_is_there_is_not_made_again(report, training_file, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in report.glob("*-seed0.*")}
    assert len(before) == 2 * len(PEERS)
    assert compare(training_file, report, ",".join(PEERS), "--epochs", "2") == 0
    said = capsys.readouterr()
    assert {path.name: path.stat().st_mtime_ns for path in report.glob("*-seed0.*")} == before
    assert "epoch" not in said.err
    assert all(f"| {name} |" in said.out for name in PEERS)
    assert "995,177" in said.out


def test_colours_learn_redshift_from_magnitudes(training_file, tmp_path):
    assert compare(training_file, tmp_path, "colours") == 0
    outcome = json.loads((tmp_path / "colours-seed0.json").read_text())
    first, last = outcome["curve"][0], outcome["curve"][-1]
    assert last["loss"] < first["loss"] - 0.5
    assert last["sigma_nmad"] < 0.6 * first["sigma_nmad"]
