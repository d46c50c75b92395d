"""`photoz-mmae simulate`: the files it writes, and that it leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from waiting import wait_until, wait_until_gone

from photoz_mmae.cutouts.batch import Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.errors import OutputError
from photoz_mmae.simulation.fits_cutouts import CutoutFolder
from photoz_mmae.simulation.observe import simulate_chunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.write import TrainingFile
from photoz_mmae.surveys import HSC_WIDE

N = 520  # two chunks
BANDS = "grizy"
LAYOUT = {
    "image": ((5, 64, 64), "f4"),
    "spectrum/flux": ((259,), "f4"),
    "spectrum/ivar": ((259,), "f4"),
    "spectrum/wave": ((259,), "f4"),
    "DESI_fibermap/DESI_redshift": ((), "f4"),
    "DESI_fibermap/DESI_redshift_err": ((), "f4"),
    "DESI_fibermap/MORPHTYPE": ((), "S4"),
    "DESI_fibermap/FLUX_R": ((), "f4"),
    "DESI_fibermap/FLUX_W1": ((), "f4"),
    "DESI_fibermap/FLUX_W2": ((), "f4"),
    **{f"HSC_metadata/{band}_cmodel_mag": ((), "f4") for band in BANDS},
    "HSC_metadata/specz_flag_homogeneous": ((), "?"),
    "object_id": ((), "i8"),
    "targetid": ((), "S20"),
    "simulation/class": ((), "S4"),
    "simulation/ebv": ((), "f4"),
    "simulation/ra": ((), "f8"),
    "simulation/dec": ((), "f8"),
    "simulation/offset_x": ((), "f4"),
    "simulation/offset_y": ((), "f4"),
    "simulation/defect": ((), "S12"),
    **{f"simulation/{band}_mag": ((), "f4") for band in BANDS},
    **{f"simulation/{band}_psf_fwhm": ((), "f4") for band in BANDS},
}

# Every process that a test starts is limited to one thread, as workers are.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*arguments, before="", **keywords):
    code = f"{before}\nfrom photoz_mmae.cli.main import main\nmain()"
    command = [sys.executable, "-c", code, "simulate", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **keywords,
    )


def run(*arguments, **keywords):
    process = start(*arguments, **keywords)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def everything_in(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(
            lambda name, item: found.update({name: item[:]} if hasattr(item, "shape") else {})
        )
        return found, dict(file.attrs)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mock")
    code, out, err = run(
        "-n", N, "--seed", 6, "-o", folder / "mock.hdf5", "--cutouts", folder / "cube"
    )
    assert code == 0, err
    return folder, out, err


def test_layout_is_that_of_galaxiesml_spectra(written):
    values, about = everything_in(written[0] / "mock.hdf5")
    assert set(values) == set(LAYOUT)
    for name, (shape, kind) in LAYOUT.items():
        assert values[name].shape == (N, *shape), name
        assert values[name].dtype == np.dtype(kind), name
    assert about["mock"]
    assert about["seed"] == 6
    assert "Mock" in about["title"]
    assert len(np.unique(values["object_id"])) == N
    assert [int(name) for name in values["targetid"]] == values["object_id"].tolist()
    assert set(values["simulation/class"]) <= {b"BGS", b"LRG", b"ELG", b"QSO"}
    assert set(values["DESI_fibermap/MORPHTYPE"]) <= {b"PSF", b"REX", b"EXP", b"DEV", b"SER"}
    assert all(np.isfinite(rows).all() for rows in values.values() if rows.dtype.kind == "f")


def test_the_end_says_what_was_written_and_what_is_next(written):
    folder, out, err = written
    assert f"{N} mock objects (seed 6)" in out
    assert f"photoz-mmae train {folder / 'mock.hdf5'}" in out
    assert f"photoz-mmae predict {folder / 'cube'}" in out
    assert err == ""
    assert sorted(path.name for path in folder.iterdir()) == ["cube", "mock.hdf5"]


def test_the_number_of_workers_changes_nothing(written, tmp_path):
    code, _, err = run("-n", N, "--seed", 6, "-o", tmp_path / "two.hdf5", "--workers", 2)
    assert code == 0, err
    one, _ = everything_in(written[0] / "mock.hdf5")
    two, _ = everything_in(tmp_path / "two.hdf5")
    for name, rows in one.items():
        np.testing.assert_array_equal(rows, two[name], err_msg=name)


def test_truth_tells_the_same_as_the_training_file(written):
    folder, *_ = written
    values, _ = everything_in(folder / "mock.hdf5")
    truth = pq.read_table(folder / "cube/truth.parquet").to_pydict()
    assert list(truth) == [
        "object_id",
        "ra",
        "dec",
        "redshift",
        *(f"mag_{band}" for band in BANDS),
        "class",
        "morphtype",
        "ebv",
        *(f"psf_fwhm_{band}" for band in BANDS),
        "offset_x",
        "offset_y",
        "defect",
        "files",
    ]
    np.testing.assert_array_equal(truth["object_id"], values["object_id"])
    np.testing.assert_allclose(truth["redshift"], values["DESI_fibermap/DESI_redshift"], rtol=1e-6)
    np.testing.assert_allclose(truth["mag_y"], values["simulation/y_mag"], rtol=1e-6)
    assert [name.encode() for name in truth["class"]] == values["simulation/class"].tolist()
    assert [kind.encode() for kind in truth["morphtype"]] == (
        values["DESI_fibermap/MORPHTYPE"].tolist()
    )
    np.testing.assert_allclose(truth["offset_y"], values["simulation/offset_y"], atol=1e-6)
    np.testing.assert_allclose(truth["psf_fwhm_g"], values["simulation/g_psf_fwhm"], rtol=1e-6)
    assert set(truth["defect"]) == {""}
    assert set(values["simulation/defect"]) == {b""}
    assert truth["files"] == [[f"{number}.fits"] for number in truth["object_id"]]
    files = {path.name for path in (folder / "cube").glob("*.fits")}
    assert files == {name for names in truth["files"] for name in names}


def test_cubes_hold_the_pixels_of_the_training_file(written):
    folder, *_ = written
    values, _ = everything_in(folder / "mock.hdf5")
    for row in (0, 1, N - 1):
        number = values["object_id"][row]
        with fits.open(folder / f"cube/{number}.fits") as hdus:
            hdus.verify("exception")
            assert len(hdus) == 1
            header = hdus[0].header
            np.testing.assert_array_equal(hdus[0].data, values["image"][row])
        assert header["OBJECT"] == str(number)
        assert header["OBJECT_ID"] == number
        assert header["MAGZERO"] == 27.0
        assert header["BANDS"] == BANDS
        sky = values["simulation/ra"][row], values["simulation/dec"][row]
        assert (header["RA_TARG"], header["DEC_TARG"]) == sky
        wcs = WCS(header, naxis=2)
        x, y = wcs.world_to_pixel_values(*sky)
        # On the target, which is cut out to the nearest pixel.
        assert abs(x - 31.5) < 0.5
        assert abs(y - 31.5) < 0.5
        east = wcs.pixel_to_world_values(x - 10, y)
        assert (east[0] - sky[0]) * 3600 * np.cos(np.radians(sky[1])) == pytest.approx(1.68)
        north = wcs.pixel_to_world_values(x, y + 10)
        assert (north[1] - sky[1]) * 3600 == pytest.approx(1.68)


def test_extensions_hold_the_same_as_cubes(written, tmp_path):
    chunk = simulate_chunk(Recipe(HSC_WIDE, 6), 4, chunk=0)
    with CutoutFolder(tmp_path / "mef", "mef", Recipe(HSC_WIDE, 6), overwrite=False) as folder:
        folder.add(chunk)
    for row in range(4):
        with fits.open(tmp_path / f"mef/{chunk.object_id[row]}.fits") as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus[1:]] == [f"HSC-{band.upper()}" for band in BANDS]
            assert hdus[0].header["OBJECT_ID"] == chunk.object_id[row]
            for number, hdu in enumerate(hdus[1:]):
                np.testing.assert_array_equal(hdu.data, chunk.images[row, number])
                x, y = WCS(hdu.header).world_to_pixel_values(chunk.ra[row], chunk.dec[row])
                np.testing.assert_allclose([x - 31.5, y - 31.5], chunk.offset[row], atol=1e-6)


def test_cutouts_come_back_through_the_reader_unchanged(written):
    folder, *_ = written
    found = discover([str(folder / "cube")])
    assert len(found.sources) == N
    batch = read_batch(found.sources, Wanted(tuple(BANDS), 64, HSC_WIDE.pixel_scale))
    values, _ = everything_in(folder / "mock.hdf5")
    order = np.argsort(values["object_id"])
    assert [int(number) for number in batch.object_id] == values["object_id"][order].tolist()
    np.testing.assert_array_equal(batch.images, values["image"][order])
    np.testing.assert_allclose(batch.ra, values["simulation/ra"][order], atol=1e-8)


@pytest.mark.parametrize("arguments", [("-n", 5), ("-n", 0, "-o", "x.hdf5"), ("-o", "x.hdf5")])
def test_unusable_options_are_usage_errors(arguments, tmp_path):
    arguments = [tmp_path / word if word == "x.hdf5" else word for word in arguments]
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_spectra_of_as_many_pixels_as_the_real_file(tmp_path):
    path = tmp_path / "fine.hdf5"
    code, _, err = run("-n", 2, "--spectrum-pixels", 7783, "-o", path)
    assert code == 0, err
    values, _ = everything_in(path)
    assert values["spectrum/flux"].shape == values["spectrum/wave"].shape == (2, 7783)
    code, _, err = run("-n", 2, "--spectrum-pixels", 300, "-o", tmp_path / "other.hdf5")
    assert code == 2
    assert err == "photoz-mmae: --spectrum-pixels: must be 259 or 7783\n"


def test_what_exists_is_refused_and_kept(tmp_path):
    file, folder = tmp_path / "mine.hdf5", tmp_path / "mine"
    file.write_text("mine")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.hdf5: exists"):
        TrainingFile(file, 4, Recipe(HSC_WIDE, 0), overwrite=False)
    with pytest.raises(OutputError, match="not empty"):
        CutoutFolder(folder, "cube", Recipe(HSC_WIDE, 0), overwrite=False)
    # Not even --overwrite touches a folder that simulate did not write.
    with pytest.raises(OutputError, match="nothing there is replaced"):
        CutoutFolder(folder, "cube", Recipe(HSC_WIDE, 0), overwrite=True)
    with pytest.raises(OutputError, match="no folder"):
        CutoutFolder(file, "cube", Recipe(HSC_WIDE, 0), overwrite=True)
    code, _, err = run("-n", 5, "-o", file)
    assert code == 6
    assert len(err.strip().splitlines()) == 1
    assert file.read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("layout", ["cube", "per-band", "hsc-das"])
def test_overwriting_replaces_cutouts_and_nothing_else(tmp_path, layout):
    path = tmp_path / "cutouts"
    with CutoutFolder(path, layout, Recipe(HSC_WIDE, 1), overwrite=False) as folder:
        folder.add(simulate_chunk(Recipe(HSC_WIDE, 1), 4, chunk=0))
    (path / "notes.txt").write_text("mine")
    new = simulate_chunk(Recipe(HSC_WIDE, 2), 2, chunk=0)
    with CutoutFolder(path, "cube", Recipe(HSC_WIDE, 2), overwrite=True) as folder:
        folder.add(new)
    names = {f"{number}.fits" for number in new.object_id} | {"truth.parquet", "notes.txt"}
    assert {file.name for file in path.iterdir()} == names
    assert (path / "notes.txt").read_text() == "mine"
    assert pq.read_table(path / "truth.parquet")["object_id"].to_pylist() == list(new.object_id)


def test_a_file_in_the_way_is_kept_and_so_is_what_was_there(tmp_path):
    path = tmp_path / "cutouts"
    recipe = Recipe(HSC_WIDE, 1)
    chunk = simulate_chunk(recipe, 2, chunk=0)
    with CutoutFolder(path, "cube", recipe, overwrite=False) as folder:
        folder.add(chunk)
    (path / f"{chunk.object_id[0]}_g.fits").write_text("mine")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with (
        pytest.raises(OutputError, match="not written by simulate"),
        CutoutFolder(path, "per-band", recipe, overwrite=True) as folder,
    ):
        folder.add(chunk)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_an_exception_on_the_way_leaves_nothing(tmp_path):
    chunk = simulate_chunk(Recipe(HSC_WIDE, 1), 3, chunk=0)
    with (
        pytest.raises(ZeroDivisionError),
        TrainingFile(tmp_path / "mock.hdf5", 3, Recipe(HSC_WIDE, 1), overwrite=False) as file,
        CutoutFolder(tmp_path / "cutouts", "cube", Recipe(HSC_WIDE, 1), overwrite=False) as folder,
    ):
        file.add(chunk)
        folder.add(chunk)
        assert 1 / 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "n", "bytes_allowed"),
    [
        ("-o mock.hdf5", 20, 1_000_000),
        ("--cutouts mock", 20, 50_000),
        ("--cutouts mock --layout per-band", 20, 10_000),
        ("--cutouts mock --layout hsc-das", 20, 50_000),
        # The cutouts fit, the list beside them does not.
        ("--cutouts mock --layout hsc-das", 200, 70_000),
        ("--cutouts mock --layout lsst --survey lsst-y10", 20, 15_000),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, arguments, n, bytes_allowed):
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({bytes_allowed},) * 2)"
    words = [tmp_path / word if word.startswith("mock") else word for word in arguments.split()]
    code, out, err = run("-n", n, *words, before=limit)
    assert code == 6, err
    assert out == ""
    assert "cannot be written (File too large)" in err
    assert len(err.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_only_an_hdf5_file_is_ever_replaced(tmp_path):
    table = tmp_path / "truth.csv"
    table.write_text("object_id,redshift\n1,0.5\n")
    code, _, err = run("-n", 5, "-o", table, "--overwrite")
    assert (code, "truth.hdf5" in err) == (2, True)
    assert table.read_text() == "object_id,redshift\n1,0.5\n"


def test_a_missing_folder_for_the_file_is_one_line(tmp_path):
    code, _, err = run("-n", 5, "-o", tmp_path / "nowhere/mock.hdf5")
    assert code == 6
    assert len(err.strip().splitlines()) == 1


def start_and_wait_for_cutouts(folder, **keywords):
    process = start(
        "-n",
        100_000,
        "-o",
        folder / "m.hdf5",
        "--cutouts",
        folder / "c",
        "--workers",
        2,
        **keywords,
    )

    def begun():
        assert process.poll() is None, process.stderr.read()
        return list(folder.glob("c/.simulate.*.tmp/*.fits"))

    try:
        wait_until(begun)
    except BaseException:
        process.kill()
        raise
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_leaves_nothing(tmp_path, number):
    process = start_and_wait_for_cutouts(tmp_path, start_new_session=True)
    # A scheduler asks the program; Ctrl-C asks its whole process group.
    send = os.killpg if number == signal.SIGINT else os.kill
    send(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "nothing was written" in err
    assert len(err.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def cutouts_of(folder):
    names = pq.read_table(folder / "truth.parquet")["files"].combine_chunks().flatten()
    return set(names.to_pylist())


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    process = start_and_wait_for_cutouts(tmp_path)
    process.kill()
    process.communicate()
    assert [name for name in names_in(tmp_path) if name.endswith(".tmp")]
    code, _, err = run("-n", 2, "-o", tmp_path / "m.hdf5", "--cutouts", tmp_path / "c")
    assert code == 0, err
    assert names_in(tmp_path / "c") == {"truth.parquet", *cutouts_of(tmp_path / "c")}
    assert {path.name for path in tmp_path.iterdir()} == {"c", "m.hdf5"}


def test_cutouts_in_a_folder_of_another_file_system(tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        (tmp_path / "c").symlink_to(other)
        for more in ((), ("--overwrite",)):
            code, _, err = run("-n", 2, "--cutouts", tmp_path / "c", *more)
            assert code == 0, err
            assert len(list((tmp_path / "c").iterdir())) == 3


def test_cutouts_in_the_working_folder(tmp_path):
    code, out, err = run("-n", 2, "--cutouts", ".", cwd=tmp_path)
    assert code == 0, err
    assert "--catalog truth.parquet" in out
    assert len(names_in(tmp_path)) == 3


def test_names_that_are_no_utf8(tmp_path):
    file, folder = (tmp_path / os.fsdecode(name) for name in (b"mo\xff.hdf5", b"cu\xff"))
    code, out, err = run("-n", 2, "-o", file)
    assert (code, err) == (0, "")
    assert f"{tmp_path}/mo\\xff.hdf5: training file" in out
    assert file.is_file()
    code, _, err = run("-n", 2, "--cutouts", folder)
    assert code == 2
    assert f"{tmp_path}/cu\\xff: no UTF-8, and no program could open truth.parquet there" in err
    assert not folder.exists()


SEND = """
import os
from pathlib import Path

files = []

def watched(change):
    def send_and_change(self, *more, **keywords):
        files.append(self)
        if len(files) == {at}:
            os.kill(os.getpid(), {number})
        return change(self, *more, **keywords)
    return send_and_change

for name in ("unlink", "rename", "replace"):
    setattr(Path, name, watched(getattr(Path, name)))
"""
"""Sends itself a signal before a file that is published or replaced."""


@pytest.mark.parametrize("at", [2, 4, 5])  # three old cutouts go, then the new truth comes
def test_a_run_that_is_killed_while_files_take_their_names_can_be_repaired(tmp_path, at):
    cutouts = ("--cutouts", tmp_path / "c", "--overwrite")
    assert run("-n", 3, *cutouts)[0] == 0
    send = SEND.format(at=at, number=int(signal.SIGKILL))
    assert run("-n", 3, "--seed", 1, *cutouts, before=send)[0] == -signal.SIGKILL
    code, _, err = run("-n", 2, "--seed", 2, *cutouts)
    assert code == 0, err
    assert names_in(tmp_path / "c") == {"truth.parquet", *cutouts_of(tmp_path / "c")}


def test_while_files_take_their_names_it_is_too_late_to_stop(tmp_path):
    send = SEND.format(at=2, number=int(signal.SIGINT))
    words = ("-n", 3, "-o", tmp_path / "m.hdf5", "--cutouts", tmp_path / "c")
    code, out, err = run(*words, before=send)
    assert (code, err) == (0, "")
    assert "3 mock objects" in out
    assert (tmp_path / "m.hdf5").is_file()
    assert len(list((tmp_path / "c").iterdir())) == 4


def test_workers_leave_with_a_killed_parent(tmp_path):
    process = start_and_wait_for_cutouts(tmp_path)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    wait_until_gone(workers)
