"""`pack` from cutouts to shards, again and again, and `predict` from them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fitsio
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from waiting import killed_at_last, wait_until

from photoz_mmae.flags import NO_REDSHIFT, Flag


@pytest.fixture
def folder(cutouts, tmp_path):
    """A copy of 12 good cutouts."""
    shutil.copytree(cutouts, tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def pack(photoz, tmp_path):
    def run(*arguments, output=tmp_path / "shards"):
        return photoz("pack", *arguments, "-o", output)

    return run


def stamps(folder):
    files = sorted(folder.glob("*.fits"))
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def names(folder):
    return [file.name for file in folder.iterdir()]


def ids(shard):
    return [int(name) for name in fitsio.read(str(shard), ext="OBJECTS", columns="object_id")]


@pytest.mark.parametrize("options", [(), ("--masks", 0, "--pdf", "grid")])
def test_the_same_catalogue(pack, predict, write_cube, folder, tmp_path, options):
    write_cube(folder / "1012.fits", bands=3)
    write_cube(folder / "1013.fits", size=50, seed=13)
    (folder / "1014.fits").write_text("no FITS file\n")
    fitsio.write(folder / "table.fits", np.zeros(3, [("id", "i8")]))
    code, out, _ = pack(folder, "--size", 4)
    assert code == 3
    assert "found     15 objects; 1 other file ignored" in out
    assert "rows      15, 2 that can have no redshift (MISSING_BAND 1, READ_ERROR 1)" in out
    assert "1014.fits: not a FITS file" in out
    catalogues = []
    for path, name in ((folder, "cutouts"), (tmp_path / "shards", "packed")):
        code, out, _ = predict(path, *options, output=tmp_path / f"{name}.parquet")
        assert code == 3
        catalogues.append(pq.read_table(tmp_path / f"{name}.parquet"))
    assert "found     15 objects; 4 other files ignored" in out  # of pack.run
    one, two = catalogues
    assert one.num_rows == two.num_rows == 15
    assert two["source"][5].as_py() == f"{tmp_path / 'shards/shard-000001.fits'}#1"
    for name in one.column_names:
        if name != "source":
            before, after = one[name].combine_chunks(), two[name].combine_chunks()
            assert before.equals(after) or np.array_equal(
                np.stack(before.to_numpy(zero_copy_only=False)),
                np.stack(after.to_numpy(zero_copy_only=False)),
                equal_nan=True,
            ), name
    # Up to date is up to date for shards, too.
    code, out, _ = predict(tmp_path / "shards", *options, output=tmp_path / "packed.parquet")
    assert (code, "up to date, nothing new" in out) == (3, True)


def test_new_changed_and_damaged(pack, write_cube, folder, tmp_path):
    shards = tmp_path / "shards"
    assert pack(folder, "--size", 5)[0] == 0
    before = stamps(shards)
    assert len(before) == 3
    code, out, _ = pack(folder, "--size", 5)
    assert (code, "is up to date, nothing new" in out) == (0, True)
    assert stamps(shards) == before
    assert not [name for name in names(shards) if name.startswith(".")]

    # New ones form a new shard, a changed one its own anew; the rest stays.
    write_cube(folder / "0500.fits", seed=50)
    write_cube(folder / "1006.fits", seed=51)
    code, out, _ = pack(folder, "--size", 5)
    assert "to do     6 objects in 2 of 4 shards" in out
    after = stamps(shards)
    assert {name for name in after if after[name] != before.get(name)} == {
        "shard-000001.fits",
        "shard-000003.fits",
    }
    assert ids(shards / "shard-000003.fits") == [500]
    changed = fits.getdata(folder / "1006.fits")
    np.testing.assert_array_equal(fits.getdata(shards / "shard-000001.fits")[1], changed)

    # A shard that was damaged is written anew, one that was only touched is not.
    damaged = bytearray((shards / "shard-000000.fits").read_bytes())
    damaged[10000] ^= 1
    (shards / "shard-000000.fits").write_bytes(damaged)
    os.utime(shards / "shard-000001.fits")
    (shards / "shard-000002.fits").write_bytes(b"")
    before = stamps(shards)
    code, out, _ = pack(folder, "--size", 5)
    assert "to do     7 objects in 2 of 4 shards" in out
    after = stamps(shards)
    assert after["shard-000001.fits"] == before["shard-000001.fits"]
    assert pack(folder, "--size", 5)[1].count("nothing new") == 1
    for name in after:
        with fits.open(shards / name, checksum=True) as file:  # a warning is an error in pytest
            assert file["IMAGE"].shape[1:] == (5, 64, 64)


def test_cutouts_that_were_thrown_away_stay_packed(pack, write_cube, folder, tmp_path):
    assert pack(folder)[0] == 0
    shard = tmp_path / "shards/shard-000000.fits"
    image, names = fits.getdata(shard), ids(shard)
    (folder / "1003.fits").unlink()
    assert "gone      1 cutout (what was packed of them stays)" in pack(folder)[1]
    # Even when a neighbour changes, so that their shard is written anew.
    write_cube(folder / "1004.fits", seed=99)
    code, out, _ = pack(folder)
    assert (code, "packed    12 objects" in out) == (0, True)
    again = fits.getdata(shard)
    assert ids(shard) == names
    np.testing.assert_array_equal(again[3], image[3])
    assert (again[4] != image[4]).any()
    files = fitsio.read(str(shard), ext="OBJECTS", columns="files")
    assert json.loads(files[3]) == [str(folder / "1003.fits")]


def test_what_is_refused(pack, photoz, write_cube, folder, tmp_path):
    shards = tmp_path / "shards"
    assert pack(folder)[0] == 0
    before = stamps(shards)
    code, _, err = pack(folder, "--image-size", 48)
    assert (code, "image_size was 64, is 48" in err) == (6, True)
    assert pack(folder, "--bands", "gri")[0] == 6
    assert stamps(shards) == before
    # --overwrite starts anew, and leaves what is not its own.
    (shards / "notes.txt").write_text("mine\n")
    assert pack(folder, "--image-size", 48, "--overwrite")[0] == 0
    assert fits.getdata(shards / "shard-000000.fits").shape == (12, 5, 48, 48)
    assert (shards / "notes.txt").exists()

    # Files of these names that are not ours are never replaced.
    (tmp_path / "other").mkdir()
    write_cube(tmp_path / "other/shard-000007.fits")
    for option in ((), ("--overwrite",)):
        code, _, err = pack(folder, *option, output=tmp_path / "other")
        assert (code, "shard-000007.fits is there" in err) == (6, True)
    write_cube(shards / "shard-000001.fits")
    assert pack(folder, "--image-size", 48, "--overwrite")[0] == 6
    assert fits.getdata(shards / "shard-000001.fits").shape == (5, 64, 64)

    assert pack(folder, output=folder / "shards")[0] == 4
    assert not (folder / "shards").exists()
    assert pack(tmp_path / "nothing")[0] == 4
    (tmp_path / "file").touch()
    assert pack(folder, output=tmp_path / "file")[0] == 6
    for option in (("--bands", "gg"), ("--bands", "xyz"), ("--size", 0), ("--image-size", 7)):
        code, _, err = pack(folder, *option, output=tmp_path / "new")
        assert (code, option[0] in err) == (2, True)
    assert not (tmp_path / "new").exists()


def test_one_at_a_time(pack, folder, tmp_path):
    from photoz_mmae.lock import run_lock

    assert pack(folder)[0] == 0
    with run_lock(tmp_path / "shards/pack.run"):
        code, _, err = pack(folder)
    assert (code, "held by another run" in err) == (7, True)


def test_a_disk_that_fills_up(folder, tmp_path):
    """One clear line, exit 6, and no half shard."""
    command = [Path(sys.executable).parent / "photoz-mmae", "pack", folder, "-o", "shards"]
    limited = f"ulimit -f 500; exec {' '.join(map(str, command))}"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, preexec_fn=_ignore
    )
    assert done.returncode == 6, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "shard-000000.fits: cannot be written" in done.stderr
    assert names(tmp_path / "shards") == ["pack.run"]


def _ignore():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle(pack, folder, tmp_path, stop):
    first = folder / "1000.fits"
    for n in range(800):
        os.link(first, folder / f"{n}.fits")
    shards = tmp_path / "shards"
    command = [Path(sys.executable).parent / "photoz-mmae", "pack", folder, "-o", shards]
    process = subprocess.Popen([*command, "--size", "4"], stderr=subprocess.PIPE, text=True)
    journal = shards / "pack.run/journal.jsonl"

    def begun():
        assert process.poll() is None
        return journal.exists() and journal.read_bytes().count(b"\n") > 3

    with killed_at_last(process):
        wait_until(begun)
        process.send_signal(stop)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == (75 if stop == signal.SIGTERM else -stop)
    if stop == signal.SIGTERM:
        assert "the same command goes on" in error
        assert not [name for name in names(shards) if name.endswith(".tmp")]
    finished = [json.loads(line)["file"] for line in journal.open()]
    assert 3 < len(finished) < 203
    untouched = {name: stamps(shards)[name] for name in finished}
    code, out, _ = pack(folder, "--size", 4)
    assert (code, "rows      812, 0 that" in out) == (0, True)
    after = stamps(shards)
    assert len(after) == 203
    assert untouched.items() <= after.items()
    assert not [name for name in names(shards) if name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("moment", "again"),
    [
        ("discover", "the same command goes on"),
        ("_pack_part", "the same command without --overwrite goes on"),
    ],
)
def test_overwrite_that_is_stopped(pack, folder, tmp_path, monkeypatch, moment, again):
    assert pack(folder)[0] == 0
    before = stamps(tmp_path / "shards")

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(f"photoz_mmae.survey_run.pack.{moment}", stop)
        code, _, err = pack(folder, "--overwrite")
    assert (code, again in err) == (75, True), err
    assert (stamps(tmp_path / "shards") == before) == (moment == "discover")
    assert pack(folder)[0] == 0


def test_a_damaged_shard_has_rows_that_say_so(pack, predict, folder, tmp_path):
    assert pack(folder, "--size", 6)[0] == 0
    first = tmp_path / "shards/shard-000000.fits"
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    code, out, _ = predict(tmp_path / "shards")
    assert code == 3
    assert "READ_ERROR 6" in out
    table = pq.read_table(tmp_path / "c.parquet")
    flags = np.asarray(table["flags"]) & int(NO_REDSHIFT)
    assert flags.tolist() == [int(Flag.READ_ERROR)] * 6 + [0] * 6
    assert table["object_id"].to_pylist()[5:7] == ["shard-000000#5", "1006"]
    # Packed again, and predicted again: all is well.
    assert pack(folder, "--size", 6)[0] == 0
    assert predict(tmp_path / "shards")[0] == 0
    assert pq.read_table(tmp_path / "c.parquet")["object_id"].to_pylist()[0] == 1000


def test_hdf5_files_are_input(pack, photoz, predict, tmp_path):
    """The mock survey's training file (mock data) and its cutouts give the same redshifts."""
    options = ("-n", 9, "--seed", 5, "-o", tmp_path / "m.hdf5", "--cutouts", tmp_path / "in")
    assert photoz("simulate", *options)[0] == 0
    catalogues = []
    pack(tmp_path / "m.hdf5")
    for name, path in (("a", "in"), ("b", "m.hdf5"), ("c", "shards")):
        output = tmp_path / f"{name}.parquet"
        assert predict(tmp_path / path, output=output)[0] == 0
        catalogues.append(pq.read_table(output))
    one, two, three = catalogues
    assert two["source"][8].as_py() == f"{tmp_path / 'm.hdf5'}#8"
    for name in ("object_id", "z_best", "z_mc", "bands_used"):
        assert one[name].equals(two[name]), name
    # Where in its pixel the target is the cutouts say, and the training file does not.
    np.testing.assert_allclose(one["flux_i"], two["flux_i"], rtol=0.05)
    for name in two.column_names:
        if name not in ("source", "z_quantiles"):
            assert two[name].equals(three[name]), name
    np.testing.assert_allclose(one["ra"], two["ra"], atol=1e-6)
