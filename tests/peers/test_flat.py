"""When a validation loss counts as flat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.model.frame import Frame
from photoz_mmae.peers.outcome import FLAT, FLAT_EPOCHS, is_flat
from photoz_mmae.peers.registry import make_contestant
from photoz_mmae.training.course import Pace

loss = st.floats(0.01, 100)
losses = st.lists(loss, min_size=FLAT_EPOCHS + 1, max_size=30)


@given(st.lists(loss, max_size=FLAT_EPOCHS))
def test_a_few_epochs_are_never_flat(few):
    assert not is_flat(few)


@given(st.lists(loss, min_size=1, max_size=20), st.lists(st.floats(0, 9), min_size=5, max_size=5))
def test_five_epochs_that_are_no_lower_are_flat(before, above):
    assert is_flat(before + [min(before) + more for more in above])


@given(losses, st.integers(1, FLAT_EPOCHS), st.floats(0.01, 0.9))
def test_one_lower_loss_among_the_last_five_is_progress(values, back, drop):
    values[-back] = min(values) * (1 - drop)
    assert not is_flat(values)


@given(st.lists(loss, min_size=1, max_size=20))
def test_less_than_a_thousandth_is_no_progress(before):
    assert is_flat(before + [min(before) * (1 - FLAT / 2)] * FLAT_EPOCHS)
    assert not is_flat(before + [min(before) * (1 - 2 * FLAT)] * FLAT_EPOCHS)


@given(losses, st.randoms(use_true_random=False))
def test_order_inside_the_five_and_before_does_not_count(values, random):
    before, last = values[:-FLAT_EPOCHS], values[-FLAT_EPOCHS:]
    random.shuffle(before)
    random.shuffle(last)
    assert is_flat(before + last) == is_flat(values)


@given(losses)
def test_a_negative_loss_can_go_down_too(values):
    """Log-likelihoods are below 0: five lower ones are progress, five higher ones are not."""
    least = min(-value for value in values)
    assert not is_flat([-value for value in values] + [2 * least] * FLAT_EPOCHS)
    assert is_flat([-value for value in values] + [least / 2] * FLAT_EPOCHS)


FLAT_FOR_A_WHILE = (3.0, 2.0, *[2.5] * FLAT_EPOCHS)


@pytest.mark.parametrize(
    ("name", "slows"), [("inception", True), ("base", True), ("bcnn", False), ("paper", False)]
)
def test_a_flat_loss_is_not_the_end_where_the_rate_will_fall(name, slows):
    (stage,) = make_contestant(name, Frame(tuple("grizy"), 64, 0.168)).stages()
    pace = Pace(7 * 125, stage.course.epochs * 125, 125, FLAT_FOR_A_WHILE)
    assert stage.course.will_slow(pace) is slows


def test_a_rate_that_was_halved_may_not_be_again_before_the_end():
    (stage,) = make_contestant("inception", Frame(tuple("grizy"), 64, 0.168)).stages()
    pace = Pace(9 * 125, stage.course.epochs * 125, 125, (3.0, 2.0, *[2.5] * 7))
    assert stage.course.rate(pace) == 0.5
    assert not stage.course.will_slow(pace)
