"""A training file as a training set: what is used, what is dropped, in which order it comes."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.errors import InputError
from photoz_mmae.training_sets.file_set import FileSet
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.hygiene import first_of_each

N = 80


def write(path, **replace):
    """Write a file whose images say which row they are: pixel (0, 0) of the first band."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(N, 5, 64, 64)).astype(np.float32)
    image[:, 0, 0, 0] = np.arange(N)
    values = {
        "image": image,
        "spectrum/flux": 2 + 0.1 * rng.normal(size=(N, 259)),
        "spectrum/ivar": np.full((N, 259), 100.0),
        "spectrum/wave": 3612 + 24.0 * np.arange(259),
        "DESI_fibermap/DESI_redshift": np.linspace(0.1, 0.7, N),
        "DESI_fibermap/TARGET_RA": rng.uniform(150, 160, N),
        "DESI_fibermap/TARGET_DEC": rng.uniform(-3, 3, N),
        "object_id": np.arange(1, N + 1),
        "targetid": np.arange(1, N + 1).astype("S20"),
        **replace,
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def open_set(path, split_by="sky", seed=0, **options):
    return FileSet(SpectraFile(path), "relative", split_by, (0.1, 0.1), seed, **options)


def rows_of(batches):
    return [int(row) for batch in batches for row in batch.image[:, 0, 0, 0]]


def parts_of(data):
    training = rows_of(data.epoch(1, 1, 0))
    held_out = [rows_of(data.held_out(part, 7)) for part in ("validation", "test")]
    return training, *held_out


def test_every_object_is_in_one_part(tmp_path):
    data = open_set(write(tmp_path / "t.hdf5"))
    training, validation, test = parts_of(data)
    assert sorted(training + validation + test) == list(range(N))
    assert len(validation) == data.composition.validation > 3
    assert len(test) == data.composition.test > 3
    again = open_set(tmp_path / "t.hdf5", seed=1)
    assert parts_of(again)[1] != validation


@pytest.mark.parametrize("first_step", [0, 1, 5])
def test_an_epoch_goes_on_from_any_step(tmp_path, first_step):
    data = open_set(write(tmp_path / "t.hdf5"))
    whole = rows_of(data.epoch(3, 10, 0))
    assert len(set(whole)) == len(whole) == data.composition.training // 10 * 10
    assert rows_of(data.epoch(3, 10, first_step)) == whole[first_step * 10 :]
    assert rows_of(data.epoch(4, 10, 0)) != whole


def test_redshifts_that_are_not_trusted_are_not_redshifts(tmp_path):
    redshift, warning = np.linspace(0.1, 0.7, N), np.zeros(N, dtype="i8")
    redshift[:4] = [np.nan, -1, np.inf, -999]
    warning[4:20] = 4
    path = write(
        tmp_path / "t.hdf5",
        **{"DESI_fibermap/DESI_redshift": redshift, "DESI_fibermap/ZWARN": warning},
    )
    data = open_set(path)
    for part in ("validation", "test"):
        assert all(batch.has_redshift.all() for batch in data.held_out(part, 8))
    known = {}
    for batch in data.epoch(1, 1, 0):
        known[rows_of([batch])[0]] = bool(batch.has_redshift[0])
        assert batch.redshift.isfinite().all()
    assert {row for row, good in known.items() if not good} == set(known) & set(range(20))
    composition = data.composition
    assert composition.lacking["redshift"] == 20 - composition.dropped["held out without redshift"]
    parts = composition.training + composition.validation + composition.test
    assert parts + sum(composition.dropped.values()) == composition.objects == N


def test_repeats_and_dead_images_are_dropped(tmp_path):
    ids, targets = np.arange(1, N + 1), np.arange(1, N + 1).astype("S20")
    redshift = np.linspace(0.1, 0.7, N)
    image = np.random.default_rng(0).normal(size=(N, 5, 64, 64)).astype(np.float32)
    image[:, 0, 0, 0] = np.arange(N)
    ids[[10, 11, 12]] = 7_000  # 10 has no redshift: 11 is kept
    redshift[10] = np.nan
    targets[[30, 31]] = b"twice"  # the image of 30 is dead: 31 is kept
    image[30] = np.nan
    ids[[40, 41]] = 0  # no ids at all
    image[50] = np.arange(5)[:, None, None]
    image[51, 3] = np.nan  # one band is missing
    path = write(
        tmp_path / "t.hdf5",
        image=image,
        object_id=ids,
        targetid=targets,
        **{"DESI_fibermap/DESI_redshift": redshift},
    )
    data = open_set(path)
    used = sorted(row for part in parts_of(data) for row in part)
    assert used == sorted(set(range(N)) - {10, 12, 30, 50, 51})
    assert data.composition.dropped["repeated"] == 2
    assert data.composition.dropped["with a constant band"] == 3
    assert data.composition.lacking["a band"] == 0


def test_objects_that_lack_bands_stay_for_a_network_that_does_without(tmp_path):
    ids, redshift = np.arange(1, N + 1), np.linspace(0.1, 0.7, N)
    image = np.random.default_rng(0).normal(size=(N, 5, 64, 64)).astype(np.float32)
    image[:, 0, 0, 0] = np.arange(N)
    image[20, 3] = np.nan
    image[21, 1:] = 7.0  # a constant is no measurement
    image[22] = 0.0
    ids[[30, 31]] = 7_000  # the one with more bands is kept
    image[30, 1] = np.nan
    ids[[40, 41]] = 8_000  # a redshift is worth more than a band
    redshift[40], image[41, 2] = np.nan, np.nan
    path = write(
        tmp_path / "t.hdf5",
        image=image,
        object_id=ids,
        **{"DESI_fibermap/DESI_redshift": redshift},
    )
    data = open_set(path, every_band=False)
    training, *held_out = parts_of(data)
    assert sorted(sum(held_out, training)) == sorted(set(range(N)) - {22, 30, 40})
    assert data.composition.dropped["without an image"] == 1
    batch = SpectraFile(path).read(np.array([20, 21, 23, 41]), "relative")
    assert (~batch.measured).nonzero().tolist() == [[0, 3], *([1, k] for k in range(1, 5)), [3, 2]]
    assert not batch.image[~batch.measured].any()
    assert data.composition.lacking["a band"] == len({20, 21, 41} & set(training))


def test_a_sample_has_every_band_however_rare(tmp_path):
    image = np.random.default_rng(0).normal(size=(N, 5, 64, 64)).astype(np.float32)
    image[: N - 30, 4] = np.nan
    path = write(tmp_path / "t.hdf5", image=image)
    data = open_set(path, every_band=False)
    sample = data.sample(20)
    with_band = sum(bool(batch.measured[0, 4]) for batch in data.epoch(1, 1, 0))
    assert sample.measured[:, :4].sum(dim=0).min() >= 20
    assert with_band > 0
    assert sample.measured[:, 4].sum() == with_band
    image[:, 4] = 1.0
    with pytest.raises(InputError, match="no training object has an image in band y"):
        open_set(write(tmp_path / "u.hdf5", image=image), every_band=False)


def test_a_sample_has_the_seeing_however_late_it_is_told(tmp_path):
    fwhm = np.full(N, 0.7)
    fwhm[: N - 30] = np.nan
    path = write(tmp_path / "t.hdf5", **{"HSC_metadata/i_psf_fwhm": fwhm})
    data = open_set(path)
    told = sum(bool(batch.psf_fwhm[0, 2].isfinite()) for batch in data.epoch(1, 1, 0))
    sample = data.sample(20)
    assert sample.psf_fwhm[:, 2].isfinite().sum() == told > 10
    assert len(sample) == 20 + told
    assert sample.psf_fwhm[:, [0, 1, 3, 4]].isnan().all()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=30))
def test_one_of_each_id_stays(objects):
    ids, worth = np.array([o[0] for o in objects]), np.array([o[1] for o in objects])
    for values in (ids, ids.astype("S"), ids.astype("S").astype(object)):
        kept = first_of_each(values, worth)
        assert kept[ids == 0].all()
        for name in set(ids) - {0}:
            mine = np.flatnonzero(ids == name)
            assert np.flatnonzero(kept & (ids == name)).tolist() == [mine[worth[mine].argmax()]]


def test_objects_without_an_id_in_floats_are_no_repeats():
    ids = np.array([3.0, np.nan, 3.0, np.nan, -1.0, 5.0])
    chosen = first_of_each(ids, np.array([0, 1, 1, 1, 1, 1]))
    assert chosen.tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("kind", ["i8", "f8", "S20", object])
def test_a_negative_number_is_no_id(kind):
    ids = np.array([-99, 7, -99, 7, -9223372036854775808]).astype("S20").astype(kind)
    assert first_of_each(ids, np.ones(5, int)).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("fill", ["999999", "N/A"])
def test_a_targetid_of_many_objects_is_none(tmp_path, fill):
    targets = np.arange(1, N + 1).astype("S20")
    targets[10:30] = fill
    targets[[40, 41]] = b"twice"
    ids = np.arange(1, N + 1)
    ids[[12, 13]] = 7_000
    data = open_set(write(tmp_path / "t.hdf5", targetid=targets, object_id=ids))
    used = {row for part in parts_of(data) for row in part}
    assert used == set(range(N)) - {13, 41}
    note = f"targetid {fill}, of 19 objects of different object_id, is taken for no id"
    assert note in data.composition.notes
    # Without object_id nobody says that they are different objects.
    data = open_set(write(tmp_path / "u.hdf5", targetid=targets, object_id=None))
    assert data.composition.dropped["repeated"] == 20


def test_neighbours_are_never_on_two_sides(tmp_path):
    """Two columns of objects along a border between blocks, seconds apart."""
    dec = np.repeat(np.linspace(-3, 3, N // 2), 2)
    ra = 155 + np.tile([-3 / 3600, 3 / 3600], N // 2)
    path = write(
        tmp_path / "t.hdf5", **{"DESI_fibermap/TARGET_RA": ra, "DESI_fibermap/TARGET_DEC": dec}
    )
    data = open_set(path)
    side = {row: number for number, rows in enumerate(parts_of(data)) for row in rows}
    lost = data.composition.dropped["on the stamp of one of another part"]
    assert lost == N - len(side) > 0
    for first in range(0, N, 2):
        assert side.get(first, side.get(first + 1)) == side.get(first + 1, side.get(first))


def test_objects_without_position_are_dropped(tmp_path):
    ra = np.random.default_rng(0).uniform(150, 160, N)
    ra[:3] = np.nan
    data = open_set(write(tmp_path / "t.hdf5", **{"DESI_fibermap/TARGET_RA": ra}))
    assert data.composition.dropped["without position"] == 3
    assert set(range(3)).isdisjoint(row for part in parts_of(data) for row in part)


@pytest.mark.parametrize("kind", ["i8", "S20"])
def test_tracts_serve_where_there_is_no_position(tmp_path, kind):
    tract = np.repeat([8279, 8280, 9813, 9814], N // 4)
    ids = ((tract << 42) + np.arange(N)).astype(kind)
    path = write(tmp_path / "t.hdf5", object_id=ids, **{"DESI_fibermap/TARGET_RA": None})
    data = open_set(path)
    assert data.composition.split == "HSC tracts, seed 0"
    tracts = [{tract[row] for row in rows} for rows in parts_of(data)]
    assert sum(map(len, tracts)) == len(set.union(*tracts)) == 4
    assert len(tracts[1]) == 1


def test_published_split_is_by_row_whatever_is_dropped(tmp_path):
    redshift = np.linspace(0.1, 0.7, N)
    redshift[::7] = np.nan
    from photoz_mmae.training_sets.split import published_split

    path = write(tmp_path / "t.hdf5", **{"DESI_fibermap/DESI_redshift": redshift})
    part = published_split(N)
    for limit in (None, 60):
        training, validation, test = parts_of(open_set(path, "published", limit=limit))
        rows = np.arange(limit or N)
        assert sorted(training) == rows[part[: len(rows)] == 0].tolist()
        for number, found in ((1, validation), (2, test)):
            assert found == [r for r in rows if part[r] == number and np.isfinite(redshift[r])]


def test_matching_weighs_training_objects_with_redshift_only(tmp_path):
    rng = np.random.default_rng(5)
    redshift = np.linspace(0.1, 0.7, N)
    redshift[::5] = np.nan
    mags = {f"HSC_metadata/{band}_cmodel_mag": rng.uniform(18, 24, N) for band in "gi"}
    path = write(tmp_path / "t.hdf5", **{"DESI_fibermap/DESI_redshift": redshift}, **mags)
    target = rng.uniform(21, 24, (500, 2))
    lines = ["mag_g,mag_i", *(f"{g},{i}" for g, i in target)]
    (tmp_path / "target.csv").write_text("\n".join(lines))
    data = open_set(path, match_to=tmp_path / "target.csv")
    weights = {True: [], False: []}
    for batch in data.epoch(1, 1, 0):
        weights[bool(batch.has_redshift[0])].append(float(batch.weight[0]))
    assert set(weights[False]) == {1.0}
    assert np.mean(weights[True]) == pytest.approx(1)
    assert min(weights[True]) > 0
    assert np.std(weights[True]) > 0.2
    assert "matched to" in data.composition.notes[1]
    for batch in data.held_out("validation", 5):
        assert (batch.weight == 1).all()


def test_what_the_images_are_taken_for_is_said(tmp_path):
    path = write(tmp_path / "t.hdf5")
    for unsaid in (" (the file names no survey)", ""):
        assert open_set(path).composition.notes[0] == (
            f"images are taken to be of hsc-wide{unsaid}: grizy, 0.168 arcsec per pixel, "
            "zero point 27"
        )
        with h5py.File(path, "a") as file:
            file.attrs["survey"] = "hsc-wide"


def test_matching_needs_magnitudes(tmp_path):
    (tmp_path / "t.csv").write_text("mag_g,mag_i\n20,19\n21,20\n")
    with pytest.raises(InputError, match="--match-to needs HSC_metadata/<b>_cmodel_mag"):
        open_set(write(tmp_path / "t.hdf5"), match_to=tmp_path / "t.csv")


def test_a_star_that_approaches_has_redshift_0(tmp_path):
    redshift = np.linspace(0.1, 0.7, N)
    redshift[:3] = -3e-4, -0.0019, -0.1
    path = write(tmp_path / "t.hdf5", **{"DESI_fibermap/DESI_redshift": redshift})
    np.testing.assert_array_equal(SpectraFile(path).redshift[:3], [0.0, 0.0, np.nan])


def test_another_order_of_the_same_parts(tmp_path):
    path = write(tmp_path / "t.hdf5")
    usual, other = open_set(path), open_set(path, order_seed=1)
    assert rows_of(usual.epoch(1, 1, 0)) != rows_of(other.epoch(1, 1, 0))
    assert sorted(rows_of(usual.epoch(1, 1, 0))) == sorted(rows_of(other.epoch(1, 1, 0)))
    assert parts_of(usual)[1:] == parts_of(other)[1:]
    same = open_set(path, order_seed=0)
    assert rows_of(same.epoch(1, 1, 0)) == rows_of(usual.epoch(1, 1, 0))
