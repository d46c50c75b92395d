"""AstroCLIP and AstroMAE among the models of compare-models."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from blobs import blobs, run, write

from photoz_mmae.model.frame import Frame
from photoz_mmae.peers.astroclip import (
    AlignmentObjective,
    AstroCLIP,
    Labelled,
    fit_mlp,
    info_nce,
    neighbours_mean,
)
from photoz_mmae.peers.astromae import AstroMAE, AstroMAEObjective, plateau_factor
from photoz_mmae.peers.masked_images import ImageEncoder, MaskedImages, MaskedImagesObjective
from photoz_mmae.peers.masked_spectra import MaskedSpectraObjective
from photoz_mmae.training_sets.training_set import UNKNOWN_KIND, TrainingBatch

STAGES = {
    "astroclip": ["image-pretraining", "spectrum-pretraining", "alignment"],
    "astromae": ["pretraining", "finetuning"],
}
WAYS = {"astroclip": ["MLP", "k-NN"], "astromae": ["whole image"]}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder of both peers, trained for two epochs by the command that is returned with it."""
    folder = tmp_path_factory.mktemp("compared")
    data = write(folder / "blobs.hdf5", blobs(40))
    output = folder / "report"
    words = ["compare-models", data, "-o", output, "--models", "astroclip,astromae"]
    words += ["--epochs", 2, "--device", "cpu"]
    assert run(*words) == 0
    return output, words


def outcome(folder, name):
    """Read the JSON file and the table of a peer."""
    path = folder / f"{name}-seed0.json"
    return json.loads(path.read_text()), pq.read_table(path.with_suffix(".parquet"))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_trained_and_every_way_tested(compared, name):
    record, table = outcome(compared[0], name)
    assert [point["stage"] for point in record["curve"]] == [s for s in STAGES[name] for _ in "12"]
    assert record["ways"] == WAYS[name]
    assert record["operations"] > 0
    for way in WAYS[name]:
        redshift = table[way].to_numpy()
        assert np.isfinite(redshift).all()
        assert len(np.unique(redshift)) > 1


def test_time_that_ends_before_a_stage_is_said_and_more_of_it_goes_on(tmp_path, capsys):
    data = write(tmp_path / "blobs.hdf5", blobs(40))
    output = tmp_path / "report"
    words = ["compare-models", data, "-o", output, "--models", "astromae", "--epochs", 1]
    assert run(*words, "--hours", 1e-6) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--hours 1e-06: over before the stage 'finetuning' of astromae" in said
    assert not (output / "astromae-seed0.json").exists()
    assert run(*words) == 0
    assert [point["stage"] for point in outcome(output, "astromae")[0]["curve"]] == STAGES[
        "astromae"
    ]
    assert "pretraining" not in capsys.readouterr().err  # it was there


def test_only_a_stage_with_redshifts_has_their_scatter_in_the_curve(compared):
    record, _ = outcome(compared[0], "astromae")
    known = [(point["stage"], point["sigma_nmad"] is not None) for point in record["curve"]]
    assert known == [("pretraining", False)] * 2 + [("finetuning", True)] * 2
    # AstroCLIP has redshifts only when all its stages are done: dashes, not numbers of nothing.
    assert "| astroclip | - | - |" in (compared[0] / "report.md").read_text()


def test_the_same_command_makes_nothing_again(compared, capsys):
    folder, words = compared
    before = {path: path.stat().st_mtime_ns for path in folder.glob("astro*")}
    assert run(*words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("astro*")}
    assert "epoch " not in capsys.readouterr().err


def make_batch(n=12, size=64, bands=5):
    """Make random objects, all with spectrum and redshift."""
    generator = torch.Generator().manual_seed(n)
    return TrainingBatch(
        image=torch.randn(n, bands, size, size, generator=generator),
        measured=torch.ones(n, bands, dtype=torch.bool),
        flux=1 + 0.3 * torch.randn(n, 259, generator=generator),
        ivar=torch.full((n, 259), 10.0),
        has_spectrum=torch.ones(n, dtype=torch.bool),
        redshift=torch.rand(n, generator=generator),
        has_redshift=torch.ones(n, dtype=torch.bool),
        weight=torch.ones(n),
        ebv=torch.zeros(n),
        psf_fwhm=torch.full((n, bands), torch.nan),
        kind=torch.full((n,), UNKNOWN_KIND),
    )


def make_frame(size=64, bands=5):
    return Frame(tuple("ugrizy"[:bands]), size, 0.168)


def total(objective, batch):
    """Loss of a batch, shown as in validation."""
    objective.network.eval()
    (view,) = objective.validation_views(batch, torch.Generator().manual_seed(0))
    return objective.losses(view)["total"]


def test_matched_embeddings_cost_less_than_shuffled_ones():
    embedding = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    matched = info_nce(embedding, embedding)
    assert matched.shape == (16,)
    assert (matched < info_nce(embedding, embedding.roll(1, dims=0))).all()


def test_length_of_an_embedding_does_not_count():
    image, spectrum = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(info_nce(image, spectrum), info_nce(3 * image, spectrum))


def test_nearest_neighbour_of_a_known_object_is_itself():
    known = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    value = torch.rand(50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(neighbours_mean(known, known, value, 1), value)


def test_neighbours_count_by_inverse_distance():
    known = torch.tensor([[0.0], [3.0], [100.0]])
    value = torch.tensor([1.0, 4.0, 50.0])
    # Distances 1 and 2: (1 / 1 * 1 + 1 / 2 * 4) / (1 / 1 + 1 / 2)
    torch.testing.assert_close(
        neighbours_mean(torch.tensor([[1.0]]), known, value, 2), torch.tensor([2.0])
    )


def test_only_hidden_patches_count():
    network = MaskedImages(ImageEncoder(make_frame(), 8, 16, 1, 2))
    objective = MaskedImagesObjective(network, torch.float32)
    (view,) = objective.validation_views(make_batch(), torch.Generator().manual_seed(0))
    patches, hidden = network.encoder.patches(view.batch.image), view.image_hidden
    assert hidden.sum(dim=1).tolist() == [48] * 12  # three quarters of 64
    rebuilt = network(patches, hidden)
    worse = torch.where(hidden.unsqueeze(2), rebuilt, rebuilt + 100)
    network.forward = lambda *_: worse
    spoilt = objective.losses(view)["total"]
    expected = (rebuilt - patches)[hidden].square().mean()
    torch.testing.assert_close(spoilt, expected)


def test_hidden_patches_are_not_looked_at():
    network = MaskedImages(ImageEncoder(make_frame(), 8, 16, 1, 2))
    patches = network.encoder.patches(make_batch().image)
    hidden = torch.rand(12, 64).argsort(dim=1) < 48
    other = torch.where(hidden.unsqueeze(2), torch.randn_like(patches), patches)
    torch.testing.assert_close(network(patches, hidden), network(other, hidden))


def test_objects_without_spectrum_are_left_out():
    torch.manual_seed(0)
    network = AstroCLIP(make_frame()).network
    batch = make_batch()
    batch.has_spectrum[5:] = False
    batch.flux[5:], batch.ivar[5:] = 0.0, 0.0
    for objective in (
        AlignmentObjective(network, torch.float32),
        MaskedSpectraObjective(network.spectra, torch.float32),
    ):
        (view,) = objective.validation_views(batch, torch.Generator().manual_seed(0))
        some = objective.losses(view)["total"]
        alone = objective.losses(view[:5])["total"]
        assert some.item() > 0
        torch.testing.assert_close(some, alone)


@pytest.mark.parametrize("stage", range(3))
def test_batch_without_any_spectrum_has_no_loss_and_can_be_trained_on(stage):
    batch = make_batch(4)
    batch.has_spectrum[:] = False
    batch.flux[:], batch.ivar[:] = 0.0, 0.0
    asked = AstroCLIP(make_frame()).stages()[stage]
    loss = total(asked.make_objective(asked.network, torch.float32), batch)
    loss.backward()
    assert loss.isfinite()
    assert (loss.item() == 0) == (stage > 0)


def test_objects_without_redshift_are_left_out():
    torch.manual_seed(0)
    objective = AstroMAEObjective(AstroMAE(make_frame()).network, torch.float32)
    batch = make_batch()
    batch.has_redshift[5:] = False
    batch.redshift[5:] = 0.0
    torch.testing.assert_close(total(objective, batch), total(objective, batch[:5]))


def test_finetuning_leaves_the_pretrained_encoder_as_it_is():
    objective = AstroMAEObjective(AstroMAE(make_frame()).network, torch.float32)
    total(objective, make_batch()).backward()
    network = objective.network
    assert all(p.grad is None for p in network.pretraining.parameters())
    assert all(p.grad is not None for p in network.inception_branch.parameters())


@pytest.mark.parametrize(("size", "bands"), [(64, 5), (45, 6), (32, 1)])
@pytest.mark.parametrize("make", [AstroCLIP, AstroMAE])
def test_any_number_of_bands_and_any_size_will_do(make, size, bands):
    contestant = make(make_frame(size, bands))
    batch = make_batch(70, size, bands)
    contestant.fit(batch, len(batch))
    contestant.network.eval()
    contestant.finish(lambda: iter([batch]), lambda: iter([batch[:20]]))
    for redshift in contestant.redshifts(batch[:3]).values():
        assert redshift.shape == (3,)
        assert redshift.isfinite().all()


def test_finish_is_the_same_whatever_was_drawn_before():
    torch.manual_seed(3)
    contestant = AstroCLIP(make_frame())
    contestant.network.eval()
    batch = make_batch(70)
    found = []
    for _ in range(2):
        contestant.finish(lambda: iter([batch]), lambda: iter([batch[:20]]))
        found.append(contestant.redshifts(batch))
        torch.rand(7)
    assert all(torch.equal(found[0][way], found[1][way]) for way in ("MLP", "k-NN"))


def test_network_on_the_embedding_learns():
    embedding = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    value = 0.3 * embedding[:, 0] + 0.5
    mlp = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    known = Labelled(embedding, value)
    fit_mlp(mlp, known, known, seed=0)
    assert (mlp(embedding).squeeze(1) - value).std() < 0.2 * value.std()


def test_rate_is_cut_where_the_validation_loss_is_flat():
    assert plateau_factor((1.0, 0.9, 0.8)) == 1.0
    assert plateau_factor((1.0, 1.0, 1.0, 1.0)) == pytest.approx(0.2)
    assert plateau_factor((1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6)) == pytest.approx(0.2)


def test_a_peer_without_redshifts_on_its_way_compares_alone(tmp_path, capsys):
    data = write(tmp_path / "blobs.hdf5", blobs(40))
    words = ["compare-models", data, "-o", tmp_path / "report", "--models", "astroclip"]
    assert run(*words, "--epochs", 1, "--device", "cpu") == 0
    told = capsys.readouterr()
    assert "astroclip, k-NN" in told.out
    assert "nan" not in told.out + told.err


@pytest.mark.filterwarnings("error")
def test_the_mlp_on_the_cpu_leaves_gpus_alone(monkeypatch):
    def unusable(*_):
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", unusable)
    known = Labelled(torch.randn(20, 3), torch.rand(20))
    mlp = torch.nn.Sequential(torch.nn.Linear(3, 1))
    state = torch.get_rng_state()
    fit_mlp(mlp, known, known, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
