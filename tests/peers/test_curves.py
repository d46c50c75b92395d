"""Learning curves as a picture."""

import warnings

from photoz_mmae.peers.curves import draw_curves
from photoz_mmae.peers.outcome import Outcome
from photoz_mmae.peers.table import Comparison, Row


def test_an_epoch_that_took_no_time_is_drawn_all_the_same(tmp_path):
    point = {"stage": "training", "epoch": 1, "seconds": 0.0, "loss": 1.0, "sigma_nmad": 0.1}
    outcome = Outcome("colours", "", 0, {}, 1, 1.0, 1.0, 1.0, 0.0, True, False, [point], ["whole"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(Comparison([Row("colours", [outcome], None)], {}), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
