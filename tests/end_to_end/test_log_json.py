"""`--log-json`: progress and result, or failure, one JSON object a line."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq


def events(out):
    found = [json.loads(line) for line in out.splitlines()]
    assert all(event["time"].endswith("+00:00") for event in found)
    return [event["event"] for event in found], found


def test_a_run_in_json(predict, cutouts, tmp_path, monkeypatch):
    monkeypatch.setattr("photoz_mmae.cli.json_report.PLAIN_INTERVAL", math.inf)
    table = pa.table({"object_id": list(range(1000, 1012)), "ebv": [0.1] * 11 + [None]})
    pq.write_table(table, tmp_path / "t.parquet")
    words = (cutouts, "--catalog", tmp_path / "t.parquet", "--part-size", 4, "--log-json")
    code, out, err = predict(*words)
    assert (code, err) == (0, "")
    names, found = events(out)
    assert names == ["catalog", "found", "begins", "progress", "done"]
    catalog, objects, begins, progress, done = found
    assert (catalog["objects"], catalog["with_ebv"], catalog["with_position"]) == (12, 11, None)
    assert objects["objects"] == 12
    assert (begins["model"], begins["parts"], begins["rows_to_do"]) == ("tiny", 3, 12)
    assert (progress["rows_done"], progress["seconds_left"]) == (12, 0)
    assert (done["exit"], done["rows"], done["rows_bad"], done["rows_computed"]) == (0, 12, 0, 12)
    assert done["flags"]["UNCALIBRATED"] == 12
    assert done["changed"] is True

    names, found = events(predict(*words)[1])
    assert names == ["catalog", "found", "begins", "done"]
    assert (found[-1]["changed"], found[-1]["rows_computed"]) == (False, 0)


def test_rows_without_redshift_and_failures(predict, photoz, scheduler, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/torn.fits").write_text("this is no FITS file\n")
    code, out, _ = predict(tmp_path / "in", "--log-json")
    done = json.loads(out.splitlines()[-1])
    assert code == done["exit"] == 3
    assert done["bad"] == {"READ_ERROR": 1}

    code, out, err = predict(tmp_path / "nowhere", "--log-json")
    names, found = events(out)
    assert code == found[-1]["exit"] == 4
    assert names == ["failed"]
    assert err == f"photoz-mmae: {found[-1]['message']}\n"
    # In a configuration file, too.
    config = tmp_path / "c.toml"
    config.write_text(f'cutouts = "{tmp_path}/in"\nmodel = "nowhere"\nlog-json = true\n')
    code, out, err = photoz("embed", "--config", config, "-o", tmp_path / "e.parquet")
    assert code == json.loads(out)["exit"] == 5
