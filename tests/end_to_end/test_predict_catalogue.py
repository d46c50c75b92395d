"""`predict` from FITS files to a catalogue that other programs read."""

import json
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from photoz_mmae.flags import NO_REDSHIFT, Flag

Z_POINTS = {"z_best", "z_mean", "z_median", "z_mode", "z_mc"}


@pytest.fixture(scope="module")
def catalogue(cutouts, tiny_model, scheduler, tmp_path_factory):
    """Every column there is, of 12 cutouts in parts of 5."""
    from photoz_mmae.cli.main import main

    output = tmp_path_factory.mktemp("catalogue") / "c.parquet"
    with pytest.raises(SystemExit) as stop:
        options = ("--model", str(tiny_model), "--scheduler", scheduler, "--pdf", "grid")
        main(["predict", str(cutouts), "-o", str(output), "--part-size", "5", *options])
    assert stop.value.code == 0
    return output


def test_one_row_per_cutout_in_order(catalogue, cutouts):
    table = pq.read_table(catalogue)
    assert table["object_id"].type == pa.int64()
    assert table["object_id"].to_pylist() == list(range(1000, 1012))
    assert table["source"].to_pylist() == [str(cutouts / f"{i}.fits") for i in range(1000, 1012)]
    assert len(list((catalogue.parent / "c.run" / "parts").iterdir())) == 3
    np.testing.assert_allclose(table["ra"], 150 + np.arange(12) * 1e-3, atol=1e-4)


def test_numbers_agree_with_each_other(catalogue):
    table = pq.read_table(catalogue)
    metadata = {key.decode(): value for key, value in table.schema.metadata.items()}
    levels = json.loads(metadata["photoz_mmae.z_quantile_levels"])
    quantiles = np.stack(table["z_quantiles"].to_numpy())
    for column, level in {
        "z_err68_min": 0.16,
        "z_err68_max": 0.84,
        "z_err95_min": 0.025,
        "z_err95_max": 0.975,
        "z_median": 0.5,
    }.items():
        np.testing.assert_array_equal(table[column], quantiles[:, levels.index(level)])
    # The quantiles are those of the stored p(z): walk up its cumulative sum in ln(1+z).
    edges = np.array(json.loads(metadata["photoz_mmae.z_pdf_edges"]))
    mass = np.stack(table["z_pdf"].to_numpy()).astype(float)
    np.testing.assert_allclose(mass.sum(axis=1), 1, atol=1e-5)
    for row in range(len(mass)):
        u = np.interp(levels, np.concatenate([[0], np.cumsum(mass[row])]), edges)
        np.testing.assert_allclose(quantiles[row], np.expm1(u), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        table["mag_i"], 31.4 - 2.5 * np.log10(table["flux_i"]), rtol=1e-6, atol=1e-5
    )
    flux, error = (np.asarray(table[name]) for name in ("flux_i", "flux_i_err"))
    np.testing.assert_allclose(table["snr_i"], flux / error, rtol=1e-5)
    assert (np.asarray(table["z_std_epistemic"]) > 0).all()
    assert (np.asarray(table["flags"]) & Flag.UNCALIBRATED != 0).all()


def test_astropy_shows_units_descriptions_and_ucds(catalogue):
    from astropy.io.votable.ucd import check_ucd
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table.read(catalogue, format="parquet.votable")
    for name in table.colnames:
        assert table[name].description, name
        assert check_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True), name
    assert str(table["flux_g"].unit) == "nJy"
    assert str(table["ra"].unit) == "deg"
    assert table["object_id"].dtype == np.int64
    assert table["z_quantiles"].shape == (12, 21)
    expected = pq.read_table(catalogue)
    for name in expected.schema.names:
        for found, wanted in zip(table[name].tolist(), expected[name].to_pylist(), strict=True):
            assert found == wanted or wanted is None or np.isnan(wanted).all(), name


def test_duckdb_and_pandas_read_every_column(catalogue):
    import duckdb
    import pandas as pd

    expected = pq.read_table(catalogue)
    rows = duckdb.sql(f"SELECT * FROM '{catalogue}'").to_arrow_table()
    frame = pd.read_parquet(catalogue)
    assert rows.schema.names == expected.schema.names == list(frame.columns)
    for name in expected.schema.names:
        wanted = expected[name].to_pylist()
        assert repr(rows[name].to_pylist()) == repr([list(w) if isinstance(w, list) else w
                                                     for w in wanted]), name  # fmt: skip
        if pa.types.is_floating(expected.schema.field(name).type):
            values = np.array([np.nan if w is None else w for w in wanted])
            np.testing.assert_array_equal(frame[name], values.astype(frame[name].dtype))
    assert duckdb.sql(f"SELECT count(*) FROM '{catalogue}' WHERE z_best > 0").fetchall() == [(12,)]


def test_metadata_says_where_it_comes_from(catalogue, tiny_model):
    from photoz_mmae.model.info import load_info

    metadata = {k.decode(): v.decode() for k, v in pq.read_metadata(catalogue).metadata.items()}
    assert metadata["photoz_mmae.model_sha256"] == load_info(tiny_model).sha256
    assert metadata["photoz_mmae.device"] == "cpu"
    assert metadata["photoz_mmae.calibration"] == "none"
    assert json.loads(metadata["photoz_mmae.flags"])["DUPLICATE_ID"] == Flag.DUPLICATE_ID
    assert json.loads(metadata["photoz_mmae.settings"])["masks"] == 4


def test_values_do_not_depend_on_parts_and_batches(predict, cutouts, catalogue, tmp_path):
    code, _, _ = predict(cutouts, "--part-size", "100", "--batch-size", "16", "--pdf", "grid")
    assert code == 0
    assert pq.read_table(tmp_path / "c.parquet").equals(pq.read_table(catalogue))


def test_less_is_stored_when_less_is_wanted(predict, cutouts, tmp_path):
    code, out, _ = predict(cutouts, "--pdf", "none", "--masks", "0")
    assert code == 0
    names = set(pq.read_schema(tmp_path / "c.parquet").names)
    assert names >= Z_POINTS | {"spec_slope", "spec_d4000"}
    assert not names & {"z_quantiles", "z_pdf", "z_std_epistemic", "spec_slope_err"}
    assert "12, 0 without redshift" in out


def test_point_model_has_a_point_and_its_spread(predict, cutouts, tiny_point_model, tmp_path):
    code, _, _ = predict(cutouts, model=tiny_point_model)
    assert code == 0
    table = pq.read_table(tmp_path / "c.parquet")
    z_columns = {name for name in table.schema.names if name.startswith(("z_", "spec_"))}
    assert z_columns == {"z_best", "z_std_epistemic"}
    assert table["z_best"].null_count == 0


def test_one_cutout_and_one_given_twice(predict, cutouts, tmp_path):
    code, out, _ = predict(cutouts / "1003.fits", cutouts / "1003.fits")
    assert code == 0
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["object_id"].to_pylist() == [1003]
    assert not table["flags"][0].as_py() & Flag.DUPLICATE_ID
    assert "found     1 object\n" in out


def test_same_id_twice_flags_both_rows(predict, write_cube, tmp_path):
    for i, name in enumerate(("a/7", "b/7", "b/8")):
        write_cube(tmp_path / f"in/{name}.fits", seed=i)
    assert predict(tmp_path / "in", "--part-size", "1")[0] == 0
    table = pq.read_table(tmp_path / "c.parquet")
    assert table["object_id"].to_pylist() == [7, 7, 8]
    duplicates = [bool(flags & Flag.DUPLICATE_ID) for flags in table["flags"].to_pylist()]
    assert duplicates == [True, True, False]


def test_ids_and_names_of_any_kind(predict, write_cube, tmp_path):
    write_cube(tmp_path / "in/1.fits", object_id="NGC 1275")
    write_cube(tmp_path / "in/007.fits")
    # A name that is no UTF-8, and one with letters beyond ASCII.
    write_cube(tmp_path / "in/x.fits").rename(tmp_path / "in" / os.fsdecode(b"\xff2.fits"))
    write_cube(tmp_path / "in/Größe.fits")
    code, _, _ = predict(tmp_path / "in")
    assert code == 0
    table = pq.read_table(tmp_path / "c.parquet")
    assert sorted(table["object_id"].to_pylist()) == ["007", "Größe", "NGC 1275", "\\xff2"]
    from astropy.table import Table

    read = Table.read(tmp_path / "c.parquet", format="parquet.votable")
    assert list(read["source"]) == table["source"].to_pylist()
    # And the odd name is known again.
    before = (tmp_path / "c.parquet").stat().st_mtime_ns
    assert "nothing new" in predict(tmp_path / "in")[1]
    assert (tmp_path / "c.parquet").stat().st_mtime_ns == before


def test_real_stamps(predict, shared_data, tmp_path):
    stamps = shared_data / "hsc_like_sim/cutouts"
    code, out, _ = predict(shared_data / "hsc_cubes", stamps)
    assert code == 0
    assert "found     47 objects; 1 other file ignored" in out
    table = pq.read_table(tmp_path / "c.parquet")
    ids = {file.name.removesuffix(".fits") for file in stamps.glob("*.fits")}
    assert set(table["object_id"].to_pylist()) == ids | {"hsc_ra150.24071_dec2.06514"}
    flags = np.asarray(table["flags"])
    assert (flags & int(NO_REDSHIFT) == 0).all()
    assert (flags & Flag.PADDED != 0).any()
    assert table["z_best"].null_count == 0


def test_what_a_run_says_of_other_bands_and_flags(predict, tmp_path):
    """A sixth band is ignored, and that is said once; so is how many rows have which flag."""
    scale = 0.2 / 3600  # not the model's
    for n in range(3):
        units = [fits.PrimaryHDU()]
        for k, band in enumerate("ugrizy"):
            noise = np.random.default_rng(10 * n + k).normal(1, 0.1, (64, 64))
            image = fits.ImageHDU(noise.astype(np.float32), name=f"lsst_{band}")
            image.header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0 + n, CRVAL2=2.0)
            image.header.update(CRPIX1=32.5, CRPIX2=32.5, CD1_1=-scale, CD2_2=scale)
            units.append(image)
        fits.HDUList(units).writeto(tmp_path / f"{n}.fits")
    code, said, _ = predict(tmp_path)
    assert code == 0
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("bands")] == [
        "bands     the model does not take u, which the cutouts have"
    ]
    (counts,) = (line for line in lines if line.startswith("flags"))
    assert "OTHER_PIXEL_SCALE 3" in counts
    flags = pq.read_table(tmp_path / "c.parquet")["flags"].to_numpy()
    assert (flags & Flag.OTHER_PIXEL_SCALE).all()
