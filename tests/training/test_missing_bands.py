"""Training with bands left out, and on objects that lack some; then `predict` of such objects."""

import dataclasses

import fitsio
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from blobs import arguments, blobs, call, run, write

from photoz_mmae.errors import StoppedError
from photoz_mmae.flags import Flag
from photoz_mmae.model.info import load_info
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.model.weights import load_model
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.training_set import UNKNOWN_KIND

BANDS = "grizy"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("bands") / "blobs.hdf5", blobs(300))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A model that was shown two thirds of its objects without some of their bands."""
    folder = tmp_path_factory.mktemp("models") / "fewer"
    options = {"preset": "small", "epochs": 8, "dust": "none", "drop-bands": 0.66, "patience": 0}
    assert run(*arguments(data, folder, **options)) == 0
    return folder


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """New objects: 50 with all bands, 50 without one, a file per band; three oddities."""
    folder = tmp_path_factory.mktemp("cutouts")
    values = blobs(100, seed=9)
    for n, image in enumerate(values["image"]):
        for k, band in enumerate(BANDS):
            if n < 50 or k != n % 5:
                fitsio.write(folder / f"{n}_{band}.fits", image[k])
    cube = values["image"][0].copy()
    cube[[0, 2]] = np.nan
    fitsio.write(folder / "200.fits", cube)
    fitsio.write(folder / "201.fits", np.full_like(cube, np.nan))
    for k in (3, 4):
        fitsio.write(folder / f"202_{BANDS[k]}.fits", values["image"][1][k])
    return folder, values["DESI_fibermap/DESI_redshift"]


def predict(model, folder, output):
    options = ("--model", model, "--device", "cpu", "--workers", 1, "--masks", 2)
    code = run("predict", folder, "-o", output, *options)
    table = pq.read_table(output)
    return code, {int(row["object_id"]): row for row in table.to_pylist()}


def test_objects_without_a_band_are_predicted(trained, cutouts, tmp_path):
    assert load_info(trained).missing_bands == "trained"
    folder, redshift = cutouts
    code, rows = predict(trained, folder, tmp_path / "c.parquet")
    assert code == 3
    z = np.array([rows[n]["z_best"] for n in range(100)], float)
    error = np.abs(z - redshift) / (1 + redshift)
    guess = np.median(np.abs(np.median(redshift) - redshift) / (1 + redshift))
    assert np.median(error[:50]) < 0.25 * guess
    assert np.median(error[50:]) < 0.5 * guess
    for n, row in rows.items():
        whole = n < 50
        used = {200: 0b11010, 201: 0, 202: 0b11000}.get(n, 31 if whole else 31 - (1 << n % 5))
        assert row["bands_used"] == used
        assert bool(row["flags"] & Flag.FEWER_BANDS) == (used not in (0, 31))
        assert (row["z_best"] is None) == (used == 0)
    assert rows[201]["flags"] & Flag.NO_FINITE_PIXELS
    assert rows[200]["flux_g"] is None


def test_a_model_that_cannot_says_so(cutouts, data, tmp_path, capsys):
    model = tmp_path / "all"
    assert run(*arguments(data, model, preset="small", epochs=1, dust="none", limit=60)) == 0
    assert load_info(model).missing_bands == "refused"
    assert "missing_bands" not in (model / "model.json").read_text()
    code, rows = predict(model, cutouts[0], tmp_path / "c.parquet")
    assert code == 3
    assert "no band" in capsys.readouterr().out
    for n, row in rows.items():
        assert (row["z_best"] is None) == (n >= 50)
        assert not row["flags"] & Flag.FEWER_BANDS
    assert rows[60]["flags"] & Flag.MISSING_BAND


def test_the_card_says_how_well_it_does_without(trained):
    card = (trained / "CARD.md").read_text()
    assert "| missing bands | predicted from the bands that are there" in card
    assert "--drop-bands 0.66" in card
    assert all(f"| without {band} | " in card for band in BANDS)


def test_resumed_training_drops_the_same_bands(data, tmp_path):
    settings = {"epochs": 2, "limit": 60, "drop_bands": 0.5}
    call(data, tmp_path / "whole", **settings)
    steps = []

    def stop_at_five():
        return len(steps) == 3

    with pytest.raises(StoppedError):
        call(data, tmp_path / "parts", stop_at_five, lambda *_: steps.append(1), **settings)
    call(data, tmp_path / "parts", **settings)
    whole, parts = (load_model(tmp_path / name).network.state_dict() for name in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_what_the_published_network_cannot(data, tmp_path, capsys):
    options = {"preset": "paper", "drop-bands": 0.3}
    assert run(*arguments(data, tmp_path / "m", **options)) == 2
    assert "cannot do without a band" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@torch.no_grad()
def test_absent_bands_cannot_be_seen():
    torch.manual_seed(0)
    settings = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)
    network = MMAE(settings, takes_bands=True).eval()
    images = torch.rand(3, 5, 64, 64)
    network.fit(images)
    present = torch.ones(3, 5, dtype=torch.bool)

    def seen(shown, there=None):
        return network.encode(network.embed(shown, present=there))

    assert torch.equal(seen(images), seen(images, present))
    present[1, 2] = present[2, 0] = present[2, 4] = False
    other = torch.where(present[:, :, None, None], images, 7.0)
    assert torch.equal(seen(images, present), seen(other, present))
    # A band that is not there is not a band without light.
    dark = torch.where(present[:, :, None, None], images, 0.0)
    assert not torch.allclose(seen(dark)[1], seen(dark, present)[1])


def test_some_objects_lose_some_bands_never_all(data):
    schedule = dataclasses.replace(load_preset("small").training, bands_dropped=0.6)
    network = MMAE(MMAENetwork(width=16, depth=1, heads=2), takes_bands=True)
    batch = SpectraFile(data).read(np.arange(300), "relative")
    views = make_objective(network, schedule, tuple(BANDS)).views(
        batch, torch.Generator().manual_seed(1)
    )
    present = torch.cat([view.present for view in views])
    lost = (~present).sum(dim=1)
    assert (lost < 5).all()
    assert (lost > 0).float().mean() == pytest.approx(0.6, abs=0.1)
    assert (lost == 1).sum() > (lost == 2).sum() > (lost == 4).sum()
    assert ((~present).sum(dim=0) > 20).all()


def test_training_on_objects_that_lack_bands(tmp_path, cutouts, capsys):
    """A third of the objects has no g, another no y, some g alone: `base` learns from all."""
    values = blobs(300)
    values["image"][::3, 0] = np.nan
    values["image"][1::3, 4] = 0.0
    values["image"][2::12, 1:] = 1.0
    data = write(tmp_path / "lacking.hdf5", values)
    model = tmp_path / "m"
    options = {"epochs": 10, "dust": "none", "patience": 0}
    assert run(*arguments(data, model, **options)) == 0
    assert "dropped: none" in capsys.readouterr().err
    record = load_info(model).training
    assert record.objects_training + record.objects_validation + record.objects_test == 300
    assert record.lacking["a band"] == pytest.approx(0.75 * record.objects_training, rel=0.1)
    scored = {result.objects: result.n for result in record.results}
    assert scored["without r"] == scored["all"] == record.objects_test
    assert 0 < scored["without g"] < scored["all"]
    folder, redshift = cutouts
    _, rows = predict(model, folder, tmp_path / "c.parquet")
    z = np.array([rows[n]["z_best"] for n in range(100)], float)
    error = np.abs(z - redshift) / (1 + redshift)
    guess = np.median(np.abs(np.median(redshift) - redshift) / (1 + redshift))
    assert np.median(error) < 0.5 * guess


def test_what_was_not_measured_is_neither_shown_nor_rebuilt(data):
    schedule = dataclasses.replace(load_preset("base").training, bands_dropped=0.5)
    settings = dataclasses.replace(load_preset("base").network, width=16, depth=1, heads=2)
    torch.manual_seed(0)
    network = MMAE(settings, takes_bands=True)
    batch = SpectraFile(data).read(np.arange(40), "relative")
    measured = torch.rand(40, 5, generator=torch.Generator().manual_seed(2)) < 0.6
    measured[:, 0] |= ~measured.any(dim=1)
    network.fit(batch.image, measured=measured)
    objective = make_objective(network, schedule, tuple(BANDS))
    objective.teacher = network

    def losses(filling):
        image = torch.where(measured[:, :, None, None], batch.image, filling)
        lacking = dataclasses.replace(
            batch,
            image=image,
            measured=measured,
            has_redshift=batch.has_redshift & (torch.arange(40) % 2 == 0),
            kind=torch.full((40,), UNKNOWN_KIND),
        )
        views = objective.views(lacking, torch.Generator().manual_seed(1))
        network.eval()
        for view in views:
            assert not (view.present & ~view.batch.measured).any()
            assert view.present.any(dim=1).all() or not view.present.any()
        return [objective.losses(view) for view in views]

    for one, other in zip(losses(0.0), losses(50.0), strict=True):
        assert one.keys() == other.keys() >= {"image", "taught"}
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


def test_standardised_by_those_that_have_the_band():
    torch.manual_seed(0)
    settings = MMAENetwork(width=16, depth=1, heads=2, colours=True)
    image = 5 * torch.rand(40, 5, 64, 64) + torch.randn(40, 5, 64, 64)
    fewer, first, every = (MMAE(settings, takes_bands=True) for _ in range(3))
    measured = torch.ones(40, 5, dtype=torch.bool)
    measured[20:, 2] = False
    fewer.fit(image, measured=measured)
    first.fit(image[:20])
    every.fit(image)
    other = torch.arange(5) != 2
    for name in ("noise", "mean", "std"):
        given = getattr(fewer.stretch, name)
        assert torch.equal(given[~other], getattr(first.stretch, name)[~other])
        assert torch.equal(given[other], getattr(every.stretch, name)[other])
    token, noise = fewer.flux_token, fewer.stretch.noise
    features, lost = token.features(image, noise), token.needs[:, 2]
    for rows, some in ((slice(20), lost), (slice(40), ~lost)):
        wanted = features[rows, some]
        torch.testing.assert_close(token.mean[some], wanted.mean(dim=0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(token.std[some], wanted.std(dim=0), rtol=1e-3, atol=1e-5)
    token.fit(image, noise, measured=measured & other)
    assert token.mean[lost].eq(0).all()
    assert token.std[lost].eq(1).all()
    assert token.std.isfinite().all()
