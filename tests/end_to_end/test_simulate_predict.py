"""What `simulate` says is next."""

import pyarrow.parquet as pq
import pytest


@pytest.mark.parametrize("layout", ["cube", "per-band", "hsc-das"])
def test_the_next_command_predicts_what_was_simulated(
    photoz, tiny_model, tmp_path, monkeypatch, layout
):
    monkeypatch.chdir(tmp_path)
    code, out, err = photoz("simulate", "-n", 3, "--cutouts", "mock", "--layout", layout)
    assert code == 0, err
    words = out.split("next: photoz-mmae ")[1].split()
    code, _, err = photoz(*words, "--model", tiny_model)
    assert code == 0, err
    ids = [pq.read_table(file)["object_id"] for file in ("catalog.parquet", "mock/truth.parquet")]
    assert sorted(ids[0].to_pylist()) == sorted(ids[1].to_pylist())
