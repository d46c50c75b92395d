"""The learning rate over a training."""

from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.training.schedule import RESTING, rate_factor

shares = st.floats(0.01, 0.4)


@given(steps=st.integers(1, 2000), warmup=shares, rest=st.just(0.0) | shares)
def test_it_rises_falls_and_rests(steps, warmup, rest):
    rates = [rate_factor(step, steps, warmup, rest) for step in range(steps)]
    rise = max(1, round(warmup * steps))
    assert rates[:rise] == sorted(rates[:rise])
    assert rates[rise:] == sorted(rates[rise:], reverse=True)
    assert max(rates) <= 1
    resting = round(rest * steps)
    if resting and resting < steps - rise:
        assert set(rates[steps - resting :]) == {RESTING}
        assert rates[steps - resting - 1] >= RESTING
    if not rest and steps > 100:
        assert rates[-1] < RESTING


def test_without_a_rise_it_is_constant():
    assert {rate_factor(step, 50, 0.0) for step in range(50)} == {1.0}
