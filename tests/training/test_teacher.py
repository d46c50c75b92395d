"""Objects of unknown redshift learn from the average of the network's weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blobs, write

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training.step import backward
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.training_set import KINDS, UNKNOWN_KIND

SMALL = MMAENetwork(
    width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20, classes=KINDS, dropout=0.5
)
N = 40


def network(seed):
    torch.manual_seed(seed)
    return MMAE(SMALL)


@pytest.fixture
def batch(tmp_path):
    """Of 40 the first ten have all; the next ten no redshift, but a class; the others neither."""
    batch = SpectraFile(write(tmp_path / "blobs.hdf5", blobs(N))).read(np.arange(N), "relative")
    numbers = torch.arange(N)
    kind = torch.where(numbers < 20, KINDS.index("star"), UNKNOWN_KIND)
    return replace(batch, has_redshift=numbers < 10, kind=kind, has_spectrum=numbers < 10)


@pytest.fixture
def objective():
    return make_objective(network(0), load_preset("base").training, tuple("grizy"))


def views(objective, batch):
    return objective.views(batch, torch.Generator().manual_seed(3))


def test_without_a_teacher_they_say_nothing_of_redshifts(objective, batch):
    assert all(view.taught is None for view in views(objective, batch))
    assert "taught" not in objective.losses(views(objective, batch)[0])


def test_those_of_unknown_redshift_and_class_are_taught(objective, batch):
    teacher = objective.teacher = network(1)
    taught = torch.cat([view.taught for view in views(objective, batch)])
    unknown = torch.cat(
        [~view.batch.has_redshift & (view.batch.kind < 0) for view in views(objective, batch)]
    )
    assert unknown.sum() == 20
    torch.testing.assert_close(taught.sum(dim=1), unknown.float())
    assert not teacher.training


def test_the_teacher_sees_the_whole_image(objective, batch):
    """Whatever the network is shown of it, and how: the same answer as in prediction."""
    still = replace(load_preset("base").training, conditions_varied=0.0)
    plain = make_objective(objective.network, still, tuple("grizy"))
    teacher = plain.teacher = objective.teacher = network(1)
    varied = torch.cat([view.taught for view in views(objective, batch)])
    torch.testing.assert_close(varied, torch.cat([v.taught for v in views(plain, batch)]))
    for view in views(plain, batch):
        asked = view.batch
        teacher.eval()
        with torch.no_grad():
            mass = teacher.redshift_logits(teacher.encode(teacher.embed(asked.image))).softmax(1)
        rows = view.taught.sum(dim=1) > 0
        torch.testing.assert_close(view.taught[rows], mass[rows])


def test_one_of_unknown_redshift_counts_as_one_object(objective, batch):
    """Not as much as all others together, as it would in a mean over those alone."""
    one = replace(batch, has_redshift=torch.arange(N) > 0, kind=batch.kind.clamp(min=0))
    one.kind[0] = UNKNOWN_KIND
    shares = torch.cat([view.shares.unknown for view in views(objective, one)])
    assert shares.sum() == pytest.approx(1 / N)


def test_no_gradient_reaches_the_teacher_and_the_loss_is_a_mean(objective, batch):
    objective.teacher = network(1)
    losses = backward(objective, views(objective, batch), 1)
    assert all(weight.grad is None for weight in objective.teacher.parameters())
    # A network that answers as its teacher does pays its entropy, others more.
    entropy = 0.0
    for view in views(objective, batch):
        mass = view.taught[view.taught.sum(dim=1) > 0]
        entropy -= (mass * mass.clamp(min=1e-30).log()).sum().item() / N
    assert losses["taught"] > entropy
    assert losses["taught"] == pytest.approx(entropy, rel=0.5)
    pieces = backward(objective, views(objective, batch), 3)
    assert pieces["taught"] == pytest.approx(losses["taught"], rel=0.2)  # other dropout
