"""`predict --naming`: columns as surveys publish them, each by its own definition of p(z)."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table

HSC = [
    *("photoz_mean", "photoz_mode", "photoz_median", "photoz_best", "photoz_mc"),
    *(
        f"photoz_{w}_{p}"
        for w in ("conf", "risk", "std")
        for p in ("mean", "mode", "median", "best")
    ),
    *("photoz_err68_min", "photoz_err68_max", "photoz_err95_min", "photoz_err95_max"),
]
LSST = ["objectId", "coord_ra", "coord_dec", "zmode", "zmean", "zmedian", "z_p16", "z_p84"]


@pytest.fixture(scope="module")
def outputs(cutouts, write_cube, tiny_model, scheduler, tmp_path_factory):
    """The same cutouts, one of them bad, under all names; with the whole p(z)."""
    from photoz_mmae.cli.main import main

    folder = tmp_path_factory.mktemp("naming")
    (folder / "bad.fits").write_text("no image")
    (folder / "17.fits").symlink_to(folder / "bad.fits")
    for naming in ("standard", "hsc", "lsst"):
        options = ("--model", str(tiny_model), "--scheduler", scheduler, "--pdf", "grid")
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    *("predict", str(cutouts), str(folder / "17.fits"), "--naming", naming),
                    *("-o", str(folder / f"{naming}.parquet"), "--max-bad", "1", *options),
                ]
            )
        assert stop.value.code == 0
    return {naming: folder / f"{naming}.parquet" for naming in ("standard", "hsc", "lsst")}


@pytest.fixture(scope="module")
def tables(outputs):
    """The catalogues, by naming."""
    return {naming: pq.read_table(file) for naming, file in outputs.items()}


def _array(table, name):
    return table[name].to_numpy().astype(float)


def test_only_identity_and_redshift_have_other_names(tables):
    ours = set(tables["standard"].schema.names)
    z = {name for name in ours if name.startswith("z_")} - {
        "z_quantiles",
        "z_pdf",
        "z_std_epistemic",
    }
    assert len(z) == 13
    assert set(tables["hsc"].schema.names) == ours - z | set(HSC)
    assert set(tables["lsst"].schema.names) == ours - z - {"object_id", "ra", "dec"} | set(LSST)
    for naming, names in {"hsc": {}, "lsst": {"object_id": "objectId", "ra": "coord_ra"}}.items():
        for name in ("object_id", "ra", "source", "flux_i", "z_quantiles", "flags", "bands_used"):
            mine = tables[naming][names.get(name, name)].to_pylist()
            assert repr(mine) == repr(tables["standard"][name].to_pylist()), name


def test_points_and_percentiles_are_those_of_the_same_distribution(tables):
    ours, hsc, lsst = (tables[naming] for naming in ("standard", "hsc", "lsst"))
    same = {f"photoz_{name}": f"z_{name}" for name in ("mean", "mode", "median", "best", "mc")}
    same |= {f"photoz_{what}_best": f"z_{what}_best" for what in ("conf", "risk", "std")}
    same |= {name: name.replace("photoz", "z") for name in HSC if "err" in name}
    for theirs, mine in same.items():
        assert hsc[theirs].equals(ours[mine]), theirs
    same = dict(
        zip(LSST[3:], ["z_mode", "z_mean", "z_median", "z_err68_min", "z_err68_max"], strict=True)
    )
    for theirs, mine in same.items():
        assert lsst[theirs].equals(ours[mine]), theirs
    for name in (*HSC, *LSST):
        table = hsc if name in HSC else lsst
        empty = 0 if name in LSST[:1] else 1
        assert table[name].null_count == empty, name


def test_risk_confidence_and_deviation_about_each_point(outputs, tables):
    """By brute force: a million draws' worth of a fine grid through the stored p(z)."""
    hsc = tables["hsc"].slice(0, 12)
    edges = np.array(
        json.loads(pq.read_schema(outputs["hsc"]).metadata[b"photoz_mmae.z_pdf_edges"])
    )
    mass = np.stack(hsc["z_pdf"].to_numpy()).astype(float)
    fine = 500  # points in a bin, flat in ln(1+z)
    u = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(fine) + 0.5) / fine
    z = np.expm1(u).ravel()
    weight = np.repeat(mass, fine, axis=1) / fine
    for point in ("mean", "mode", "median", "best"):
        at = _array(hsc, f"photoz_{point}")[:, None]
        loss = 1 - 1 / (1 + ((at - z) / (1 + z) / 0.15) ** 2)
        inside = np.abs(z - at) < 0.03 * (1 + at)
        expected = {
            "risk": (weight * loss).sum(axis=1),
            "conf": (weight * inside).sum(axis=1),
            "std": np.sqrt((weight * (z - at) ** 2).sum(axis=1)),
        }
        for what, values in expected.items():
            found = _array(hsc, f"photoz_{what}_{point}")
            np.testing.assert_allclose(
                found, values, rtol=2e-3, atol=2e-4, err_msg=f"{what} {point}"
            )
    best = _array(hsc, "photoz_risk_best")
    for point in ("mean", "mode", "median"):
        assert (best <= _array(hsc, f"photoz_risk_{point}") + 1e-5).all()
    assert (
        np.ptp([_array(hsc, f"photoz_risk_{p}") for p in ("mean", "mode", "best")], axis=0) > 0
    ).any()


@pytest.mark.parametrize("naming", ["hsc", "lsst"])
def test_every_column_explains_itself(outputs, naming):
    table = Table.read(outputs[naming], format="parquet.votable")
    for name in table.colnames:
        assert check_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True), name
        assert table[name].description, name
        if name.startswith(("photoz", "z")):
            assert not re.search(r"\bz_best\b", table[name].description), name
    ra = table["coord_ra" if naming == "lsst" else "ra"]
    assert ra.unit == "deg"
    assert ra.meta["ucd"] == "pos.eq.ra;meta.main"


def test_another_naming_is_another_catalogue(predict, cutouts, tiny_point_model, tmp_path):
    assert predict(cutouts, "--naming", "lsst")[0] == 0
    before = (tmp_path / "c.parquet").stat()
    code, out, _ = predict(cutouts, "--naming", "lsst")
    assert (code, "nothing new" in out) == (0, True)
    code, _, err = predict(cutouts, "--naming", "hsc")
    assert (code, "naming was lsst, is hsc" in err) == (6, True)
    code, _, err = predict(cutouts)
    assert (code, "naming was lsst, is standard" in err) == (6, True)
    assert (tmp_path / "c.parquet").stat() == before
    # A model without p(z) has nothing to make them of.
    code, _, err = predict(cutouts, "--naming", "hsc", "--overwrite", model=tiny_point_model)
    assert (code, "no p(z)" in err, len(err.splitlines())) == (2, True, 1)
    assert (tmp_path / "c.parquet").stat() == before


def test_kept_columns_beside_a_naming(predict, cutouts, tmp_path):
    """Names that a naming sets free can be kept; those that it takes cannot."""
    (tmp_path / "t.csv").write_text(
        "object_id,zmean,problem,ra,dec\n"
        + "".join(f"{1000 + i},{i},p{i},{i},1\n" for i in range(12))
    )
    options = ("--naming", "lsst", "--catalog", tmp_path / "t.csv")
    assert predict(cutouts, *options, "--keep", "zmean")[0] == 2
    assert predict(cutouts, *options, "--keep", "problem,ra")[0] == 0
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["problem"].to_pylist() == [f"p{i}" for i in range(12)]
    assert table["ra"].to_pylist() == list(range(12))
    assert table["coord_ra"].to_pylist() == list(range(12))
