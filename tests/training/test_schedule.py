"""The learning rate over a training."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from photoz_mmae.training.schedule import RESTING, make_average, rate_factor

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


def test_the_average_is_as_defined_and_asks_for_the_number_of_steps_once(monkeypatch):
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    average = make_average(network, 0.3)
    means = None
    asked = []
    to_int = torch.Tensor.__int__
    monkeypatch.setattr(torch.Tensor, "__int__", lambda value: asked.append(1) or to_int(value))
    for n in range(6):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
        average.update_parameters(network)
        now = [parameter.detach().double() for parameter in network.parameters()]
        decay = min(0.3, (1 + n) / (10 + n))
        if n:
            now = [decay * m + (1 - decay) * v for m, v in zip(means, now, strict=True)]
        means = now
        assert len(asked) == n
        for mean, found in zip(means, average.module.parameters(), strict=True):
            torch.testing.assert_close(found.double(), mean, rtol=1e-6, atol=1e-6)


def test_without_a_rise_it_is_constant():
    assert {rate_factor(step, 50, 0.0) for step in range(50)} == {1.0}
