"""How often training hides patches from the apertures, and that nobody else ever shows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blobs, write

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.training.mmae_objective import APERTURES_HIDDEN
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training_sets.galaxiesml import SpectraFile

BANDS = "grizy"
HIDES = MMAENetwork(
    width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20, hides_fluxes=True
)


@pytest.fixture(scope="module")
def objective(batch):
    torch.manual_seed(0)
    network = MMAE(HIDES).eval()
    network.fit(batch.image, batch.psf_fwhm)
    return make_objective(network, load_preset("base").training, BANDS)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("apertures") / "blobs.hdf5", blobs(60))
    return SpectraFile(path).read(np.arange(60), "relative")


def test_a_share_of_the_views_hides_them(objective, batch):
    shown = []
    for seed in range(300):
        *with_image, spectrum_alone = objective.views(batch, torch.Generator().manual_seed(seed))
        assert not spectrum_alone.apertures_whole
        shown += [view.apertures_whole for view in with_image]
        assert all(
            piece.apertures_whole == view.apertures_whole
            for view in with_image
            for piece in view.pieces(3)
        )
    assert np.mean(shown) == pytest.approx(1 - APERTURES_HIDDEN, abs=0.07)
    views = [*objective.validation_views(batch, torch.Generator()), objective.whole(batch)]
    assert not any(view.apertures_whole for view in views)


def test_a_view_decides_what_losses_see(objective, batch):
    """Two images that differ where they are hidden: apertures tell, or do not."""
    view = objective.views(batch, torch.Generator().manual_seed(1))[0]
    hidden = view.image_hidden
    assert hidden.any()
    lit = hidden.view(-1, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    other = replace(view, batch=replace(view.batch, image=view.batch.image + 3.0 * lit))
    for whole in (True, False):
        first, second = (
            objective.losses(replace(each, apertures_whole=whole))["redshift"].item()
            for each in (view, other)
        )
        assert (first == second) != whole
