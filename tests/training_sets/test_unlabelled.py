"""Cutouts without redshift and spectrum in a training set."""

import h5py
import numpy as np
import pytest
from astropy.io import fits

from photoz_mmae.cli.main import main
from photoz_mmae.errors import InputError
from photoz_mmae.model.frame import Frame
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.unlabelled import Unlabelled

N, MORE = 40, 30
FRAME = Frame(tuple("grizy"), 64, 0.168)


def images(numbers):
    """Make noise whose pixel (0, 0) of the first band is the object's number."""
    made = np.random.default_rng(0).normal(size=(len(numbers), 5, 64, 64)).astype(np.float32)
    made[:, 0, 0, 0] = numbers
    return made


def write_hdf5(path, **values):
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def write_cutouts(path, **replace):
    """Write 30 objects of numbers and ids from 1000 on, far from all others."""
    values = {
        "image": images(1000 + np.arange(MORE)),
        "object_id": 1000 + np.arange(MORE),
        "ra": np.linspace(10, 20, MORE),
        "dec": np.full(MORE, 40.0),
        **replace,
    }
    return write_hdf5(path, **values)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """40 objects of numbers from 0 on, half of them with redshift and spectrum."""
    rng = np.random.default_rng(0)
    values = {
        "image": images(np.arange(N)),
        "spectrum/flux": 2 + 0.1 * rng.normal(size=(N, 259)),
        "spectrum/ivar": np.full((N, 259), 100.0),
        "spectrum/wave": 3612 + 24.0 * np.arange(259),
        "DESI_fibermap/DESI_redshift": np.linspace(0.1, 0.7, N),
        "ra": rng.uniform(150, 160, N),
        "dec": rng.uniform(-3, 3, N),
        "ebv": np.full(N, 0.1),
        "object_id": 1 + np.arange(N),
    }
    return SpectraFile(write_hdf5(tmp_path_factory.mktemp("data") / "t.hdf5", **values))


def mixed(file, cutouts, catalog=None, **options):
    unlabelled = Unlabelled(cutouts, FRAME, catalog)
    return FileSet(file, "relative", "sky", (0.2, 0.2), 0, cutouts=unlabelled, **options)


def numbers_of(batches):
    return [int(number) for batch in batches for number in batch.image[:, 0, 0, 0]]


def test_an_epoch_holds_every_object_once(file, tmp_path):
    data = mixed(file, write_cutouts(tmp_path / "c.hdf5"))
    composition = data.composition
    found, labels = [], {}
    for batch in data.epoch(1, 1, 0):
        found += numbers_of([batch])
        labels[found[-1]] = bool(batch.has_redshift[0]), bool(batch.has_spectrum[0])
    assert len(found) == len(set(found)) == composition.training
    assert {number for number in found if number >= 1000} == set(range(1000, 1000 + MORE))
    assert all(known == ((number < 1000),) * 2 for number, known in labels.items())
    assert composition.unlabelled == MORE
    assert composition.lacking == {"redshift": 0, "spectrum": 0, "a band": 0}
    parts = composition.training + composition.validation + composition.test
    assert parts + sum(composition.dropped.values()) == composition.objects == N + MORE
    held_out = [numbers_of(data.held_out(part, 9)) for part in ("validation", "test")]
    assert max(max(numbers) for numbers in held_out) < N
    assert f"({MORE} unlabelled)" in composition.lines()[1]


def test_pixels_that_were_not_measured_are_those_opposite(file, tmp_path):
    image = images(1000 + np.arange(MORE))
    image[:, 1, 3, 60] = np.nan
    data = mixed(file, write_cutouts(tmp_path / "c.hdf5", image=image))
    for batch in data.epoch(1, 1, 0):
        if (number := numbers_of([batch])[0]) >= 1000:
            assert batch.image[0, 1, 3, 60] == image[number - 1000, 1, 60, 3]


def test_cutouts_that_lack_bands_are_there_for_a_network_that_does_without(file, tmp_path):
    image, ids = images(1000 + np.arange(MORE)), 1000 + np.arange(MORE)
    image[0, 2] = 1.0
    image[1] = np.nan
    image[2, 3] = np.nan
    image[2, 4, 32, 32] = np.nan  # in the middle of the target, in a band that is there
    ids[[3, 4]] = 5_000  # the one with more bands is kept
    image[3, 1] = 0.0
    path = write_cutouts(tmp_path / "c.hdf5", image=image, object_id=ids)
    unlabelled = Unlabelled(path, FRAME, every_band=False)
    data = FileSet(file, "relative", "sky", (0.2, 0.2), 0, cutouts=unlabelled, every_band=False)
    used = {number - 1000 for number in numbers_of(data.epoch(1, 1, 0)) if number >= 1000}
    assert used == set(range(MORE)) - {1, 2, 3}
    assert data.composition.dropped["unlabelled with a bad image"] == 2
    for batch in data.epoch(1, 1, 0):
        lacking = (~batch.measured).nonzero().tolist()
        assert lacking == ([[0, 2]] if numbers_of([batch]) == [1000] else [])


def test_an_epoch_goes_on_from_any_step(file, tmp_path):
    cutouts = write_cutouts(tmp_path / "c.hdf5")
    whole = list(mixed(file, cutouts).epoch(3, 10, 0))
    for batch in whole:
        rich = int(batch.has_redshift.sum())
        assert abs(rich - 10 * (1 - MORE / mixed_size(file, cutouts))) < 1
    # Neither kind comes first.
    first = [bool(batch.has_redshift[0]) for batch in whole]
    last = [bool(batch.has_redshift[-1]) for batch in whole]
    assert not all(first)
    assert any(last)
    for step in (1, 3):
        again = mixed(file, cutouts).epoch(3, 10, step)
        assert numbers_of(again) == numbers_of(whole[step:])
    assert numbers_of(mixed(file, cutouts).epoch(4, 10, 0)) != numbers_of(whole)


def mixed_size(file, cutouts):
    return mixed(file, cutouts).composition.training


def test_bad_repeated_and_held_out_objects_are_left_out(file, tmp_path):
    plain = FileSet(file, "relative", "sky", (0.2, 0.2), 0)
    tested = numbers_of(plain.held_out("test", 99))[0]
    trained = numbers_of(plain.epoch(1, 1, 0))[0]
    image, ids = images(1000 + np.arange(MORE)), 1000 + np.arange(MORE)
    ra, dec = np.linspace(10, 20, MORE), np.full(MORE, 40.0)
    image[0, 2] = 1.0  # a dead band
    image[1] = np.nan
    image[2, 3, 32, 32] = np.inf  # in the middle of the target
    image[3, 3, 2, 2] = np.nan  # not there: it stays
    ids[4] = 1 + trained
    ids[6] = ids[5]
    ids[[7, 8]] = 0  # no ids at all
    positions = file.positions()
    ra[9], dec[9] = positions[tested] + [0, 10 / 3600]
    ra[10], dec[10] = positions[trained] + [0, 10 / 3600]
    ra[11] = np.nan
    path = write_cutouts(tmp_path / "c.hdf5", image=image, object_id=ids, ra=ra, dec=dec)
    data = mixed(file, path)
    used = {number - 1000 for number in numbers_of(data.epoch(1, 1, 0)) if number >= 1000}
    assert used == set(range(MORE)) - {0, 1, 2, 4, 6, 9}
    dropped = data.composition.dropped
    assert dropped["unlabelled with a bad image"] == 3
    assert dropped["unlabelled and repeated"] == 2
    assert dropped["unlabelled on a stamp of validation or test"] == 1
    note = "1 unlabelled object without position: not compared with validation and test"
    assert note in data.composition.notes
    for batch in data.epoch(1, 1, 0):
        assert batch.image.isfinite().all()


def test_a_negative_number_is_no_id(tmp_path):
    ids = 1000 + np.arange(MORE)
    ids[:9] = -99
    cutouts = Unlabelled(write_cutouts(tmp_path / "c.hdf5", object_id=ids), FRAME)
    chosen = cutouts.choose(np.array([5, -99]), None, 1.0, needs_ebv=False)
    assert chosen.dropped["unlabelled and repeated"] == 0


def test_folder_shards_and_hdf5_give_the_same(file, tmp_path):
    image = images(1000 + np.arange(MORE))
    folder = tmp_path / "fits"
    folder.mkdir()
    for number, planes in enumerate(image, start=1000):
        head = fits.Header({"CDELT1": -0.168 / 3600, "CDELT2": 0.168 / 3600, "MAGZERO": 27.0})
        fits.PrimaryHDU(planes, head).writeto(folder / f"{number}.fits")
    with pytest.raises(SystemExit) as stop:
        main(["pack", str(folder), "-o", str(tmp_path / "shards"), "--size", "11"])
    assert stop.value.code == 0
    hdf5 = write_cutouts(tmp_path / "c.hdf5", image=image)
    order = np.random.default_rng(1).permutation(MORE)
    for path in (folder, tmp_path / "shards", hdf5):
        cutouts = Unlabelled(path, FRAME)
        chosen = cutouts.choose(None, None, 1.0, needs_ebv=False)
        assert len(chosen.numbers) == MORE
        batch = cutouts.read(chosen.numbers[order], "relative")
        np.testing.assert_array_equal(batch.image.numpy(), image[order], err_msg=str(path))
        assert not batch.has_redshift.any()
        assert not batch.has_spectrum.any()


def test_padded_stamps_and_other_pixel_scales_are_left_out(tmp_path):
    image = images(np.arange(3))
    for path, planes, scale in (
        ("good", image[0], 0.168),
        ("small", image[1, :, :40, :40], 0.168),
        ("coarse", image[2], 0.263),
    ):
        size = {"CDELT1": -scale / 3600, "CDELT2": scale / 3600, "CRPIX1": 32.5, "CRPIX2": 32.5}
        place = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}
        head = fits.Header({**size, **place})
        fits.PrimaryHDU(planes, head).writeto(tmp_path / f"{path}.fits")
    with pytest.raises(InputError, match="the pixel scale differs from the model's"):
        Unlabelled(tmp_path / "coarse.fits", FRAME).choose(None, None, 1.0, needs_ebv=False)
    chosen = Unlabelled(tmp_path, FRAME).choose(None, None, 1.0, needs_ebv=False)
    assert chosen.dropped["unlabelled with a bad image"] == 2
    assert len(chosen.numbers) == 1


def test_reddening_is_from_the_table(file, tmp_path):
    path, table = write_cutouts(tmp_path / "c.hdf5"), tmp_path / "t.csv"
    lines = [f"{1000 + k},{k / 100}" for k in range(MORE - 3)]
    table.write_text("\n".join(["object_id,ebv", *reversed(lines)]))
    file = SpectraFile(file.path)
    file.load_ebv()
    data = mixed(file, path, table)
    assert "3 of 30 unlabelled objects have no usable E(B-V)" in data.composition.notes
    for batch in data.epoch(1, 1, 0):
        (number,) = numbers_of([batch])
        wanted = 0.1 if number < 1000 else (number - 1000) / 100
        wanted = np.nan if number >= 1000 + MORE - 3 else wanted
        np.testing.assert_allclose(float(batch.ebv[0]), wanted, rtol=1e-6)
    table.write_text("object_id,ebv\n5,0.1\n")
    with pytest.raises(InputError, match="has the id of none of the unlabelled objects"):
        mixed(file, path, table)


def test_the_table_tells_the_seeing(file, tmp_path):
    table = tmp_path / "t.csv"
    told = [0.5 + number / 100 for number in range(MORE - 1)]
    lines = [f"{1000 + number},{fwhm},-1" for number, fwhm in enumerate(told)]
    table.write_text("\n".join(["object_id,psf_fwhm_i,psf_fwhm_y", *reversed(lines)]))
    data = mixed(file, write_cutouts(tmp_path / "c.hdf5"), table)
    found = {}
    for batch in data.epoch(1, 1, 0):
        (number,) = numbers_of([batch])
        known = batch.psf_fwhm[0].isfinite().nonzero().flatten().tolist()
        if number < 1000 or number == 1000 + MORE - 1:
            assert not known
        else:
            assert known == [2]
            found[number - 1000] = float(batch.psf_fwhm[0, 2])
    assert found == pytest.approx(dict(enumerate(told)), rel=1e-6)


def test_cutouts_without_zero_point_are_counted(file, tmp_path):
    image = images(1000 + np.arange(4))
    image[3] = np.nan  # not kept, so not counted
    for number, planes in enumerate(image):
        head = fits.Header({"CDELT1": -0.168 / 3600, "CDELT2": 0.168 / 3600})
        if number == 0:
            head["MAGZERO"] = 27.0
        fits.PrimaryHDU(planes, head).writeto(tmp_path / f"c{number}.fits")
    note = "2 unlabelled objects without zero point: pixels are taken to be at 27"
    assert note in mixed(file, tmp_path).composition.notes
    for number in (1, 2):
        (tmp_path / f"c{number}.fits").unlink()
    assert not any("zero point:" in note for note in mixed(file, tmp_path).composition.notes)


def test_nothing_usable_is_said(file, tmp_path):
    four = write_cutouts(tmp_path / "four.hdf5", image=images(np.arange(MORE))[:, :4])
    with pytest.raises(InputError, match="none of 30 unlabelled objects has a usable image"):
        mixed(file, four)
    same = write_cutouts(tmp_path / "same.hdf5", object_id=1 + np.arange(MORE))
    with pytest.raises(InputError, match=r"no unlabelled object is left \(30 unlabelled and rep"):
        mixed(file, same)


def test_a_cutout_that_goes_is_said(tmp_path):
    for number, planes in enumerate(images(np.arange(2))):
        head = fits.Header({"CDELT1": -0.168 / 3600, "CDELT2": 0.168 / 3600})
        fits.PrimaryHDU(planes, head).writeto(tmp_path / f"{number}.fits")
    cutouts = Unlabelled(tmp_path, FRAME)
    numbers = cutouts.choose(None, None, 1.0, needs_ebv=False).numbers
    (tmp_path / "1.fits").unlink()
    with pytest.raises(InputError, match=r"1\.fits: was good when training began"):
        cutouts.read(numbers, "relative")


def test_other_cutouts_have_another_checksum(tmp_path):
    path, table = write_cutouts(tmp_path / "c.hdf5"), tmp_path / "t.csv"
    table.write_text("object_id,ebv\n1000,0.1\n")
    first = Unlabelled(path, FRAME).sha256()
    assert Unlabelled(path, FRAME).sha256() == first
    assert Unlabelled(path, FRAME, table).sha256() != first
    write_cutouts(path, image=images(1000 + np.arange(MORE)), ra=None)
    assert Unlabelled(path, FRAME).sha256() != first


def test_hidden_objects_of_the_file_come_without_labels(file):
    data = FileSet(file, "relative", "sky", (0.2, 0.2), 0, sizes=(8, None, None), unlabelled=10)
    plain = FileSet(file, "relative", "sky", (0.2, 0.2), 0, sizes=(8, None, None))
    known = {True: [], False: []}
    for batch in data.epoch(1, 1, 0):
        assert bool(batch.has_redshift[0]) == bool(batch.has_spectrum[0])
        known[bool(batch.has_redshift[0])] += numbers_of([batch])
        assert batch.has_redshift[0] or batch.redshift[0] == 0
    assert sorted(known[True]) == sorted(numbers_of(plain.epoch(1, 1, 0)))
    assert len(set(known[False])) == data.composition.unlabelled == 10
    assert data.composition.training == 18
