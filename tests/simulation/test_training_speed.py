"""The benchmark of training speed: its objects are those that a training sees."""

import torch
from benchmark_files import load_benchmark

from photoz_mmae.training_sets.training_set import KINDS


def test_its_objects_have_all_that_networks_are_trained_on():
    batch = load_benchmark("training_speed").mock_objects(6, "relative")
    assert len(batch) == 6
    assert torch.isfinite(batch.image).all()
    assert batch.has_redshift.all()
    assert batch.psf_fwhm.isfinite().all()
    assert {KINDS[k] for k in batch.kind} <= {"galaxy", "qso"}
