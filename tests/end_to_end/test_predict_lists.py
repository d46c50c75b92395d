"""Cutouts by a list: of paths on standard input, of what the cutout service was asked for."""

import io
import os
import re
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from photoz_mmae.flags import Flag

BANDS = "GRIZY"
TEXT = "#? rerun filter ra dec sw sh image mask variance type\n"


@pytest.fixture
def typed(monkeypatch):
    """Put bytes on standard input."""

    def put(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


def rows(output):
    return pq.read_table(output).to_pylist()


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_paths_on_standard_input(predict, typed, cutouts, tmp_path, end):
    files = sorted(os.fsencode(path) for path in cutouts.iterdir())
    typed(end.join(files[:5]) + end)
    code, out, _ = predict("-")
    assert code == 0, out
    assert [row["object_id"] for row in rows(tmp_path / "c.parquet")] == [
        1000,
        1001,
        1002,
        1003,
        1004,
    ]
    before = (tmp_path / "c.parquet").read_bytes()
    typed(end.join(files[:5]))
    assert "up to date" in predict("-")[1]
    assert (tmp_path / "c.parquet").read_bytes() == before
    # More of them, and a folder beside.
    typed(end.join(files[5:7]))
    code, out, _ = predict("-", cutouts)
    assert code == 0, out
    assert "to do     7 objects" in out
    assert len(rows(tmp_path / "c.parquet")) == 12


def test_any_bytes_on_standard_input(predict, typed, write_cube, tmp_path):
    name = os.fsdecode(b"\xff new\nline.fits")
    (tmp_path / "in").mkdir()
    write_cube(tmp_path / "in" / "a.fits").rename(tmp_path / "in" / name)
    typed(os.fsencode(tmp_path / "in" / name) + b"\0")
    code, out, _ = predict("-")
    assert code == 0, out
    assert rows(tmp_path / "c.parquet")[0]["source"].endswith(r"\xff new\nline.fits")


def test_a_listed_file_that_is_gone_has_a_row(predict, typed, write_cube, tmp_path):
    there, gone = write_cube(tmp_path / "1.fits"), tmp_path / "2.fits"
    typed(f"{there}\n{gone}\n".encode())
    code, _, _ = predict("-")
    assert code == 3
    assert [row["flags"] & Flag.READ_ERROR for row in rows(tmp_path / "c.parquet")] == [0, 1]
    typed(f"{gone}\n".encode())
    code, _, error = predict("-", output=tmp_path / "d.parquet")
    assert (code, error.count("\n")) == (4, 1)
    typed(b"")
    code, _, error = predict("-", output=tmp_path / "d.parquet")
    assert (code, error.count("\n")) == (4, 1)
    assert "no path on standard input" in error


def write_answer(folder, line, band, ra, dec, seed=0):
    """Write a file as the cutout service does: header, then the image with its WCS."""
    size = 64
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    image = 3 * np.exp(-(x**2 + y**2) / 20) + 0.05 * rng.standard_normal((size, size))
    head = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": ra + 0.01,
            "CRVAL2": dec,
            "CRPIX1": (size + 1) / 2 - 0.01 * np.cos(np.radians(dec)) * 3600 / 0.168,
            "CRPIX2": (size + 1) / 2,
            "CD1_1": -0.168 / 3600,
            "CD2_2": 0.168 / 3600,
            "EXTTYPE": "IMAGE",
        }
    )
    primary = fits.PrimaryHDU(header=fits.Header({"FILTER": band, "FLUXMAG0": 63095734448.0194}))
    path = folder / f"{line}-cutout-HSC-{band}-8279-pdr2_wide.fits"
    fits.HDUList([primary, fits.ImageHDU(image.astype(np.float32), head)]).writeto(path)
    return path


@pytest.fixture
def answered(tmp_path):
    """Three objects of five bands: a folder of answers, the list that asked for them, positions."""
    folder = tmp_path / "answers"
    folder.mkdir()
    where = [(150.0 + 0.01 * n, 2.0) for n in range(3)]
    lines = []
    for n, (ra, dec) in enumerate(where):
        for band in BANDS:
            lines.append(
                f"  pdr2_wide HSC-{band} {ra:.8f} {dec:.8f} 5asec 5asec true false false coadd\n"
            )
            write_answer(folder, len(lines) + 1, band, ra, dec, seed=n)
    (tmp_path / "request.txt").write_text(TEXT + "".join(lines))
    return folder, tmp_path / "request.txt", where


def test_a_request_list_says_id_position_and_bands(predict, answered, tmp_path):
    folder, asked, where = answered
    code, out, _ = predict(folder, "--list", asked)
    assert code == 0, out
    found = rows(tmp_path / "c.parquet")
    assert [row["object_id"] for row in found] == [
        "150.00000+2.00000",
        "150.01000+2.00000",
        "150.02000+2.00000",
    ]
    np.testing.assert_allclose([(row["ra"], row["dec"]) for row in found], where)
    assert all(row["bands_used"] == 0b11111 for row in found)
    assert not any(row["flags"] & Flag.OFF_CENTRE for row in found)
    assert "up to date" in predict(folder, "--list", asked)[1]
    # Without the list it would be another catalogue.
    code, _, error = predict(folder)
    assert (code, error.count("\n")) == (6, 1)
    assert "made with --list" in error


def test_answers_that_come_in_another_folder_leave_the_first_as_they_are(
    predict, answered, tmp_path
):
    folder, asked, _ = answered
    later = tmp_path / "later"
    later.mkdir()
    for line in range(12, 17):  # those of the third object
        path = next(folder.glob(f"{line}-cutout-*"))
        path.rename(later / path.name)
    assert predict(folder, "--list", asked)[0] == 3
    before = rows(tmp_path / "c.parquet")
    code, out, _ = predict(later, "--list", asked)
    assert (code, "others    2 cutouts of earlier runs" in out) == (0, True), out
    found = rows(tmp_path / "c.parquet")
    assert repr(found[:2]) == repr(before[:2])
    assert not any(row["flags"] & (Flag.SOURCE_GONE | Flag.READ_ERROR) for row in found)


def test_other_column_orders_and_all_filters_of_one_kind_first(predict, answered, tmp_path):
    folder, asked, _ = answered
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    lines = ["#? dec ra filter\n", "# a comment is a line too\n"]
    for place, band in enumerate(BANDS):
        for n in range(3):
            path = next(folder.glob(f"{5 * n + place + 2}-cutout-*"))
            lines.append(f"2.0 {150 + 0.01 * n + 1e-5 * place} HSC-{band}\n")
            path.rename(renamed / path.name.replace(f"{5 * n + place + 2}-", f"{len(lines)}-", 1))
    asked.write_text("".join(lines))
    code, out, _ = predict(renamed, "--list", asked)
    assert code == 0, out
    assert [row["bands_used"] for row in rows(tmp_path / "c.parquet")] == [0b11111] * 3


def test_a_table_as_list_and_what_was_not_delivered(predict, answered, tmp_path):
    folder, _, where = answered
    table = tmp_path / "objects.csv"
    names = [(40 + n, *place) for n, place in enumerate([*where, (151.0, 2.0)]) for _ in BANDS]
    table.write_text("id,RAJ,DEJ\n" + "".join(f"{n},{ra},{dec}\n" for n, ra, dec in names))
    next(folder.glob("3-cutout-*")).unlink()
    arguments = (folder, "--list", table, "--columns", "id=id,ra=RAJ,dec=DEJ")
    code, out, _ = predict(*arguments)
    assert code == 3
    assert "14 cutouts answer it; 6 lines have no file (1 object without any)" in out
    found = rows(tmp_path / "c.parquet")
    assert [row["object_id"] for row in found] == [40, 41, 42, 43]
    bad = [row["flags"] & (Flag.MISSING_BAND | Flag.READ_ERROR) for row in found]
    assert bad == [Flag.MISSING_BAND, 0, 0, Flag.READ_ERROR]
    assert (found[3]["ra"], found[3]["dec"]) == (151.0, 2.0)
    assert "asked for in line 17, no file" in (tmp_path / "c.run/problems.jsonl").read_text()
    # There is no file that could be tried again.
    assert "0 objects in 0 of" in predict(*arguments, "--retry-bad")[1]
    # They come later: no row more, and none without redshift.
    write_answer(folder, 3, "R", *where[0])
    for place, band in enumerate(BANDS):
        write_answer(folder, 17 + place, band, 151.0, 2.0)
    code, out, _ = predict(*arguments)
    assert code == 0, out
    assert [row["object_id"] for row in rows(tmp_path / "c.parquet")] == [40, 41, 42, 43]
    # And go again: the row stays as it was.
    for place in range(5):
        next(folder.glob(f"{17 + place}-cutout-*")).unlink()
    code, out, _ = predict(*arguments)
    assert code == 0, out
    last = rows(tmp_path / "c.parquet")[3]
    assert last["flags"] & Flag.SOURCE_GONE
    assert last["z_best"] is not None


def test_one_file_elsewhere_has_a_row_that_says_so(predict, answered, tmp_path):
    folder, asked, _ = answered
    lines = asked.read_text().splitlines(keepends=True)
    lines[11:] = [line.replace("150.02", "150.04") for line in lines[11:]]
    asked.write_text("".join(lines))
    code, _, _ = predict(folder, "--list", asked)
    assert code == 3
    flags = [row["flags"] & Flag.NO_FINITE_PIXELS for row in rows(tmp_path / "c.parquet")]
    assert flags == [0, 0, Flag.NO_FINITE_PIXELS]
    problems = (tmp_path / "c.run/problems.jsonl").read_text()
    assert "the position given, RA 150.04000, Dec 2.00000, is not on its image" in problems


BAD_LISTS = [
    ("", "empty|no rows|first line"),
    ("#? rerun filter ra sw\n", "line 1 names no column 'dec'"),
    (TEXT, "asks for nothing"),
    (TEXT + " pdr2 HSC-G 150.0 2.0\n", "line 2 has 4 entries"),
    (TEXT + " pdr2 HSC-G 10:00:00 2.0 5asec 5asec true true true coadd\n", "line 2: ra '10:00:00'"),
    (TEXT + " pdr2 HSC-G nan 2.0 5asec 5asec true true true coadd\n", "line 2: RA nan"),
    (TEXT + " pdr2 HSC-G 150.0 92.0 5asec 5asec true true true coadd\n", "line 2: .*92"),
    (TEXT + " pdr2 HSC-Y 150.0 2.0 5asec 5asec true true true coadd\n", "line 2 asks for another"),
    ("object_id,x\n1,2\n", "no column 'ira'"),
    ("object_id,ira,idec\n1,10,2\n2,11,2\n", "does not belong to these files"),
]


@pytest.mark.parametrize(("text", "message"), BAD_LISTS)
def test_a_bad_list_is_refused_in_one_line(predict, answered, tmp_path, text, message):
    folder, asked, _ = answered
    asked.write_text(text)
    code, _, error = predict(folder, "--list", asked)
    assert (code, error.count("\n")) == (4, 1), error
    assert re.search(message, error), error
    assert not (tmp_path / "c.parquet").exists()


def test_a_list_that_is_not_there_or_answers_nothing(predict, answered, cutouts, tmp_path):
    folder, asked, _ = answered
    code, _, error = predict(folder, "--list", tmp_path / "gone.txt")
    assert (code, error.count("\n")) == (4, 1)
    assert "--list" in error
    code, _, error = predict(cutouts, "--list", asked)
    assert (code, error.count("\n")) == (4, 1)
    assert "none of 12 cutouts answers it" in error


def test_the_shared_files_join_their_table(predict, shared_data, tmp_path):
    folder = shared_data / "hsc_das_cutouts"
    code, out, _ = predict(folder, "--list", folder / "star_cat_correct.fits")
    assert code == 3
    assert "6 cutouts answer it; 4 lines have no file (4 objects without any)" in out
    with fits.open(folder / "star_cat_correct.fits") as file:
        table = file[1].data
    found = rows(tmp_path / "c.parquet")
    assert [row["object_id"] for row in found] == table["# object_id"].tolist()
    for name, column in (("ra", "ira"), ("dec", "idec")):
        np.testing.assert_allclose([row[name] for row in found], table[column], atol=1e-9)
    with_file = [n - 2 for n in (2, 3, 4, 5, 10, 11)]
    assert [n for n, row in enumerate(found) if row["bands_used"]] == with_file
    assert not any(found[n]["flags"] & Flag.OFF_CENTRE for n in with_file)


def test_mock_answers_of_simulate_join_both_of_their_lists(photoz, predict, tmp_path):
    folder = tmp_path / "mock"
    code, out, err = photoz(
        "simulate", "-n", 3, "--seed", 5, "--cutouts", folder, "--layout", "hsc-das"
    )
    assert code == 0, out + err
    for name in ("request.txt", "request.fits"):
        code, out, _ = predict(folder, "--list", folder / name, output=tmp_path / f"{name}.parquet")
        assert code == 0, out
    text, table = (rows(tmp_path / f"request.{end}.parquet") for end in ("txt", "fits"))
    truth = {row["object_id"]: row for row in rows(folder / "truth.parquet")}
    assert {row["object_id"] for row in table} == truth.keys()
    for one, other in zip(text, table, strict=True):
        assert abs(one["ra"] - truth[other["object_id"]]["ra"]) < 1e-6
        assert one["mag_i"] == other["mag_i"]
