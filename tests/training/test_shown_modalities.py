"""What of their image and spectrum objects are shown in training, however few have a spectrum."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blobs, write

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, load_preset
from photoz_mmae.training.objectives import make_objective
from photoz_mmae.training_sets.galaxiesml import SpectraFile

SMALL = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)


@pytest.mark.parametrize("with_spectrum", [60, 40, 20])
def test_those_with_a_spectrum_are_mostly_shown_without(tmp_path, with_spectrum):
    """Else labels would be learnt from spectra, which are not there when it matters."""
    path = write(tmp_path / "blobs.hdf5", blobs(60))
    batch = SpectraFile(path).read(np.arange(60), "relative")
    batch = replace(batch, has_spectrum=torch.arange(60) < with_spectrum)
    objective = make_objective(MMAE(SMALL), load_preset("base").training, tuple("grizy"))
    views = objective.views(batch, torch.Generator().manual_seed(0))
    images, both, spectra = ((view, int(view.batch.has_spectrum.sum())) for view in views)
    assert images[1] == 0.75 * with_spectrum
    assert both[1] == 0.20 * with_spectrum
    assert spectra[1] == 0.05 * with_spectrum
    assert len(images[0]) == 60 - both[1] - spectra[1]
    assert spectra[0].image_hidden.all()
