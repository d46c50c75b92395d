"""Training with the width of the PSF: told, hidden, partly known, or not in the file at all."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from blobs import blobs, call, write

from photoz_mmae.errors import InputError
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.model.weights import load_model
from photoz_mmae.peers.presets import PresetContestant
from photoz_mmae.training.mmae_objective import SEEING_FORGOTTEN, SEEING_PARTLY_FORGOTTEN
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training_sets.galaxiesml import SpectraFile

BANDS = "grizy"
TINY = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)
TOLD = replace(TINY, seeing=True)


def widths(n, seed=1):
    """Give a width of the PSF per object and band, arcsec."""
    return np.random.default_rng(seed).uniform(0.5, 1.2, (n, len(BANDS))).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """300 blobs; the PSF of z is told by the second place only, that of y by none."""
    values, fwhm = blobs(300), widths(300)
    for k, band in enumerate("gri"):
        values[f"HSC_metadata/{band}_psf_fwhm"] = fwhm[:, k]
        values[f"simulation/{band}_psf_fwhm"] = fwhm[:, k] + 1
    values["simulation/z_psf_fwhm"] = fwhm[:, 3]
    values["HSC_metadata/g_psf_fwhm"] = np.concatenate([[np.nan, 0, -1, 99], fwhm[4:, 0]])
    return write(tmp_path_factory.mktemp("seeing") / "blobs.hdf5", values)


@pytest.fixture(scope="module")
def batch(data):
    return SpectraFile(data).read(np.arange(300), "relative")


def make_network(settings, batch, **more):
    torch.manual_seed(0)
    network = MMAE(settings, **more).eval()
    network.fit(batch.image, batch.psf_fwhm)
    return network


def test_what_a_file_tells(batch, data):
    fwhm = widths(300)
    assert batch.psf_fwhm.dtype == torch.float32
    assert torch.isnan(batch.psf_fwhm[:4, 0]).all()
    np.testing.assert_array_equal(batch.psf_fwhm[4:, :4], fwhm[4:, :4])
    assert torch.isnan(batch.psf_fwhm[:, 4]).all()
    some = SpectraFile(data).read(np.array([9, 2]), "relative")
    np.testing.assert_array_equal(some.psf_fwhm[:, 1], fwhm[[9, 2], 1])


@pytest.mark.parametrize(
    ("values", "message"), [(np.ones(7), "different lengths"), (["wide"] * 60, "not numbers")]
)
def test_a_file_that_tells_it_wrong(tmp_path, values, message):
    path = write(tmp_path / "b.hdf5", {**blobs(60), "HSC_metadata/r_psf_fwhm": values})
    with pytest.raises(InputError, match=message):
        SpectraFile(path)


@torch.no_grad()
def test_only_a_network_with_seeing_looks_at_it(batch):
    some, other = batch[:6], batch.psf_fwhm[:6] * 1.2
    for settings, looks in ((TINY, False), (TOLD, True)):
        objective = make_objective(
            make_network(settings, batch), load_preset("small").training, BANDS
        )
        told, otherwise = (
            objective.redshift(objective.whole(replace(some, psf_fwhm=fwhm)))
            for fwhm in (some.psf_fwhm, other)
        )
        assert torch.equal(told, otherwise) != looks


def seen(network, *shown, **told):
    return network.encode(network.embed(*shown, **told))


@torch.no_grad()
def test_nothing_told_is_all_unknown_and_a_band_alone_may_be(batch):
    network, some = make_network(TOLD, batch), batch[4:10]
    unknown = torch.full_like(some.psf_fwhm, torch.nan)
    nothing = seen(network, some.image)
    assert torch.equal(nothing, seen(network, some.image, psf_fwhm=unknown))
    told = seen(network, some.image, psf_fwhm=some.psf_fwhm)
    without_r = some.psf_fwhm.clone()
    without_r[:, 1] = torch.nan
    partly = seen(network, some.image, psf_fwhm=without_r)
    assert partly.isfinite().all()
    assert not torch.equal(partly, told)
    assert not torch.equal(partly, nothing)
    # What no training object told, none may tell afterwards; nor what is no width.
    without_r[:, 4] = 0.7
    without_r[:, 1] = 0.0
    assert torch.equal(seen(network, some.image, psf_fwhm=without_r), partly)


@torch.no_grad()
def test_of_a_band_that_is_absent_nothing_is_told(batch):
    network, some = make_network(TOLD, batch, takes_bands=True), batch[4:10]
    present = torch.ones(6, 5, dtype=torch.bool)
    present[:, 2] = False
    other = some.psf_fwhm.clone()
    other[:, 2] = 0.9
    both = [seen(network, some.image, None, present, fwhm) for fwhm in (some.psf_fwhm, other)]
    assert torch.equal(*both)
    other[:, 1] = 0.9
    assert not torch.equal(both[0], seen(network, some.image, None, present, other))


def test_it_is_hidden_for_a_share_of_the_objects(batch):
    batch = replace(batch, psf_fwhm=torch.ones(300, 5))
    schedule = load_preset("small").training
    for settings, share, partly in (
        (TINY, 0.0, 0.0),
        (TOLD, SEEING_FORGOTTEN, SEEING_PARTLY_FORGOTTEN),
    ):
        objective = make_objective(make_network(settings, batch), schedule, BANDS)
        views = objective.views(batch, torch.Generator().manual_seed(2))
        unknown = torch.cat([view.batch.psf_fwhm for view in views]).isnan()
        assert unknown.any(dim=1).float().mean() == pytest.approx(share + partly, abs=0.07)
        assert unknown.all(dim=1).float().mean() == pytest.approx(share, abs=0.07)
        (view,) = objective.validation_views(batch, torch.Generator())
        assert not view.batch.psf_fwhm.isnan().any()


def test_what_the_seeing_hides_is_learnt_where_it_is_told():
    """Redshift is the true size of smeared blobs: their image tells it with the PSF alone."""
    n, rng = 384, np.random.default_rng(0)
    z, fwhm = rng.uniform(0.1, 1.0, n), rng.uniform(0.5, 1.2, n)
    y, x = np.mgrid[:32, :32] - 15.5
    area = ((1.2 * z) ** 2 + fwhm**2)[:, None, None] / (2.355 * 0.168) ** 2
    blob = 300 * np.exp(-(x**2 + y**2) / (2 * area)) / (2 * np.pi * area)
    image = torch.from_numpy(blob.astype(np.float32)).unsqueeze(1).expand(-1, 5, -1, -1)
    image = image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    psf_fwhm = torch.from_numpy(fwhm.astype(np.float32)).unsqueeze(1).expand(-1, 5)
    label = torch.from_numpy(z.astype(np.float32))
    error = {}
    for told in (True, False):
        torch.manual_seed(1)
        network, head = MMAE(replace(TOLD, image_size=32)), torch.nn.Linear(16, 1)
        network.fit(image, psf_fwhm)
        token, noise = network.flux_token, network.stretch.noise
        shown = psf_fwhm if told else torch.full_like(psf_fwhm, torch.nan)
        optimizer = torch.optim.Adam([*token.parameters(), *head.parameters()], lr=3e-3)
        for _ in range(100):
            found = head(token(image[:256], noise, None, shown[:256])).flatten()
            loss = (found - label[:256]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            found = head(token(image[256:], noise, None, shown[256:])).flatten()
        error[told] = (found - label[256:]).abs().mean().item()
    assert error[True] < 0.6 * error[False]


def base(monkeypatch):
    """Make the preset `small` a tiny one with seeing."""
    small = load_preset("small")
    preset = replace(small, network=TOLD, dust="none")
    monkeypatch.setattr("photoz_mmae.training.settings.load_preset", lambda name: preset)


def test_train_from_a_file_that_tells_it(data, tmp_path, monkeypatch):
    base(monkeypatch)
    notes = []
    call(data, tmp_path / "m", notes=notes, epochs=2, limit=60)
    assert not any("tells no seeing" in note for note in notes)
    model = load_model(tmp_path / "m")
    assert model.info.seeing
    assert json.loads((tmp_path / "m/model.json").read_text())["network"]["seeing"] is True
    seeing = model.network.flux_token.seeing
    assert (seeing.std[:4] > 0.1).all()
    assert seeing.std[4] == 0
    assert "seeing unknown" in {result.objects for result in model.info.training.results}
    assert "| seeing | told per band where known" in (tmp_path / "m/CARD.md").read_text()


def test_train_from_a_file_that_does_not(data, tmp_path, monkeypatch):
    base(monkeypatch)
    path = tmp_path / "without.hdf5"
    path.write_bytes(data.read_bytes())
    with h5py.File(path, "a") as file:
        del file["simulation"]
        for band in "gri":
            del file[f"HSC_metadata/{band}_psf_fwhm"]
    notes = []
    call(path, tmp_path / "m", notes=notes, epochs=1, limit=60)
    assert any("tells no seeing" in note for note in notes)
    model = load_model(tmp_path / "m")
    assert (model.network.flux_token.seeing.std == 0).all()
    # Nothing is said of it twice.
    assert "seeing unknown" not in {result.objects for result in model.info.training.results}
    assert "| seeing | not told |" in (tmp_path / "m/CARD.md").read_text()


@torch.no_grad()
def test_a_comparison_says_both_and_the_usual_way_is_not_told(batch):
    preset = replace(load_preset("small"), network=TOLD)
    contestant = PresetContestant("told", preset, BANDS)
    contestant.fit(batch, len(batch))
    contestant.network.eval()
    some = batch[4:10]
    ways = contestant.redshifts(some)
    assert list(ways) == ["whole image", "25 % masked", "seeing given"]
    untold = replace(some, psf_fwhm=torch.full_like(some.psf_fwhm, torch.nan))
    assert torch.equal(ways["whole image"], contestant.redshift(untold))
    assert torch.equal(ways["whole image"], contestant.redshift(some))
    assert not torch.equal(ways["seeing given"], ways["whole image"])
    (stage,) = contestant.stages()
    objective = stage.make_objective(contestant.network, torch.float32)
    (view,) = objective.validation_views(some, torch.Generator())
    assert view.batch.psf_fwhm.isnan().all()
    # Data that tell none are not said to have been told.
    contestant.fit(untold, len(untold))
    assert "seeing given" not in contestant.redshifts(untold)
    assert "seeing given" not in PresetContestant("plain", load_preset("small"), BANDS).redshifts(
        some
    )


@torch.no_grad()
def test_the_progress_of_a_contestant_is_that_of_images_alone(batch):
    """As of its peers: losses and redshifts of validation are not told the seeing."""
    preset = replace(load_preset("small"), network=TOLD)
    contestant = PresetContestant("told", preset, tuple(BANDS))
    contestant.fit(batch, 300)
    (stage,) = contestant.stages()
    objective, some = stage.make_objective(contestant.network.eval(), torch.float32), batch[4:10]
    alone = objective.redshift(objective.whole(some))
    ways = contestant.redshifts(some)
    torch.testing.assert_close(alone, ways["whole image"])
    assert not torch.equal(alone, ways["seeing given"])
