"""The simulated survey as a training set: new objects every epoch, the same ones every time."""

import numpy as np
import pytest

from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.surveys import HSC_WIDE
from photoz_mmae.training_sets import simulated
from photoz_mmae.training_sets.simulated import SimulatedSet, recipe_sha256

N = 90


@pytest.fixture(scope="module")
def data():
    """Chunks of 10 objects, so that an epoch of 90 has three windows."""
    before, simulated.CHUNK = simulated.CHUNK, 10
    yield SimulatedSet(Recipe(HSC_WIDE, seed=3), N, "relative", (0.05, 0.3), "cpu")
    simulated.CHUNK = before


def redshifts(batches):
    return [float(z) for batch in batches for z in batch.redshift]


@pytest.fixture(scope="module")
def epoch(data):
    return redshifts(data.epoch(1, 8, 0))


@pytest.mark.parametrize("first_step", [1, 4, 5, 10])
def test_an_epoch_goes_on_from_any_step(data, epoch, first_step):
    assert len(epoch) == 88  # 11 batches of 8
    assert redshifts(data.epoch(1, 8, first_step)) == epoch[8 * first_step :]


def test_objects_are_shuffled_in_windows_and_never_used_twice(data, epoch):
    other = redshifts(data.epoch(2, 8, 0))
    parts = [redshifts(data.held_out(part, 8)) for part in ("validation", "test")]
    assert [len(part) for part in parts] == [20, 27]
    everyone = epoch + other + parts[0] + parts[1]
    assert len(set(everyone)) == len(everyone)
    assert redshifts(data.held_out("test", 5)) == parts[1]
    sample = data.sample(20).image
    assert sample.shape == (20, 5, 64, 64)
    first_window = {float(image.sum()) for image in sample}
    places = [
        place
        for place, image in enumerate(i for batch in data.epoch(1, 8, 0) for i in batch.image)
        if float(image.sum()) in first_window
    ]
    assert max(places) < 40
    assert places != list(range(20))


def test_batches_are_those_of_a_file(data, tmp_path):
    """The same chunk through HDF5 gives the same numbers."""
    from photoz_mmae.simulation.observe import simulate_chunk
    from photoz_mmae.simulation.write import TrainingFile
    from photoz_mmae.training_sets.galaxiesml import SpectraFile

    recipe = Recipe(HSC_WIDE, seed=3)
    with TrainingFile(tmp_path / "t.hdf5", 10, recipe, overwrite=False) as file:
        file.add(simulate_chunk(recipe, 10, 0))
    data_file = SpectraFile(tmp_path / "t.hdf5")
    data_file.load_ebv()
    stored = data_file.read(np.arange(10), "relative")
    drawn = next(iter(data.held_out("validation", 10)))
    assert stored.ebv.std() > 0
    for name, value in vars(stored).items():
        np.testing.assert_allclose(getattr(drawn, name), value, 1e-5, 1e-5, err_msg=name)


def test_classes_are_in_the_order_of_the_objects(data):
    classes, z = data.classes("test"), np.array(redshifts(data.held_out("test", 8)))
    assert len(classes) == 27
    assert (z[classes == "BGS"] < 0.8).all()
    assert set(classes) <= {"BGS", "LRG", "ELG", "QSO"}


def test_fingerprint_follows_the_recipe():
    one = recipe_sha256(Recipe(HSC_WIDE, seed=3), 100)
    assert one == recipe_sha256(Recipe(HSC_WIDE, seed=3), 100)
    others = {
        recipe_sha256(Recipe(HSC_WIDE, seed=4), 100),
        recipe_sha256(Recipe(HSC_WIDE, seed=3), 101),
        recipe_sha256(Recipe(HSC_WIDE, seed=3, selection="magnitude:22"), 100),
    }
    assert len(others | {one}) == 4


@pytest.mark.parametrize("selections", [1, 2, 3])
def test_held_out_objects_are_of_every_selection_alike(monkeypatch, selections):
    monkeypatch.setattr(simulated, "CHUNK", 10)
    names = ",".join(["desi", "magnitude:24", "magnitude:25"][:selections])
    data = SimulatedSet(
        Recipe(HSC_WIDE, seed=3, selection=names), 500, "relative", (0.05, 0.1), "cpu"
    )
    used = []
    for part, n in (("validation", 25), ("test", 50)):
        chunks = data._held_out[part]
        shares = [
            sum(size for number, size in chunks if number % selections == k)
            for k in range(selections)
        ]
        assert sum(shares) == n
        assert max(shares) - min(shares) <= 1 + len(chunks) // selections
        assert all(0 < size <= 10 for _, size in chunks)
        used += [number for number, _ in chunks]
    assert used == list(range(len(used)))
    assert data._chunks_of_epoch(1)[0][0] == len(used)
