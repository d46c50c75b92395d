"""Learning curves as a picture."""

import warnings

from photoz_mmae.peers.curves import draw_curves
from photoz_mmae.peers.outcome import Outcome
from photoz_mmae.peers.table import Comparison, Row


def outcome_of(model, *points):
    return Outcome(model, "", 0, {}, 1, 1.0, 1.0, 1.0, 0.0, True, False, list(points), ["whole"])


def test_an_epoch_that_took_no_time_is_drawn_all_the_same(tmp_path):
    point = {"stage": "training", "epoch": 1, "seconds": 0.0, "loss": 1.0, "sigma_nmad": 0.1}
    outcome = outcome_of("colours", point)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(Comparison([Row("colours", [outcome], None)], {}), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_model_without_redshifts_on_its_way_is_left_out(tmp_path):
    point = {"stage": "alignment", "epoch": 1, "seconds": 1.0, "loss": 1.0, "sigma_nmad": None}
    alone = [Row("astroclip", [outcome_of("astroclip", point)], None)]
    draw_curves(Comparison(alone, {}), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    beside = outcome_of("colours", {**point, "stage": "training", "sigma_nmad": 0.1})
    rows = [Row("colours", [beside], None)]
    for name, drawn in ("one", rows), ("both", [*alone, *rows]):
        draw_curves(Comparison(drawn, {}), tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "both.png").read_bytes()
