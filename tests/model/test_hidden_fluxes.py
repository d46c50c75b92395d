"""Apertures of images with hidden patches: nothing hidden is measured, what is left tells."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.model.tokens import LEAST_SEEN

SIZES = {"width": 32, "depth": 1, "heads": 2, "decoder_width": 16, "redshift_bins": 40}


def make_network(hides_fluxes):
    torch.manual_seed(0)
    network = MMAE(MMAENetwork(**SIZES, colours=True, hides_fluxes=hides_fluxes), takes_bands=True)
    network.fit(torch.randn(8, 5, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return make_network(True)


def round_objects():
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    # Flat inside each ring between apertures, so that a part of a ring tells its mean exactly.
    edges = torch.tensor([0.5, 0.85, 1.3, 2.0, 3.0, 4.5]) / 0.168
    ring = torch.bucketize(torch.hypot(x, y), edges)
    level = torch.tensor([100.0, 60, 30, 10, 4, 1, 0])
    colour = torch.tensor([[1.0, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    return colour[:, :, None, None] * level[ring]


def pixels_of(hidden):
    shown = (~hidden).view(-1, 8, 8).float()
    return shown.repeat_interleave(8, 1).repeat_interleave(8, 2)


@torch.no_grad()
@pytest.mark.parametrize("hides", [True, False])
def test_hidden_pixels_change_nothing_that_is_encoded(hides):
    network = make_network(hides)
    images = round_objects()
    hidden = draw_mask(1, 64, 0.25, torch.Generator().manual_seed(1)).repeat(2, 1)
    hidden[:, 27] = True  # one of the four in the middle
    changed = images + 50 * (1 - pixels_of(hidden)).unsqueeze(1)
    seen = [network.encode(network.embed(each), image_hidden=hidden) for each in (images, changed)]
    assert torch.equal(*seen) == hides


@torch.no_grad()
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.9))
def test_of_a_round_object_what_is_left_tells_the_whole(network, seed, ratio):
    token, noise = network.flux_token, torch.full((5,), 1e-6)
    hidden = draw_mask(2, 64, ratio, torch.Generator().manual_seed(seed))
    shown = pixels_of(hidden)
    images = round_objects()
    seen = token.seen(shown)  # (N, A)
    assert ((seen >= 0) & (seen <= 1.0001)).all()
    # arcsinh of the fluxes comes first.
    noted = token.features(images, noise, shown)[:, :30].view(2, 5, 6)
    expected = token.features(images, noise)[:, :30].view(2, 5, 6)
    told = (seen >= LEAST_SEEN).cumprod(dim=1).bool().unsqueeze(1).expand_as(noted)
    torch.testing.assert_close(noted[told], expected[told], atol=0.1, rtol=0)


@torch.no_grad()
def test_nothing_hidden_is_a_whole_image(network):
    images = round_objects()
    nothing = torch.zeros(2, 64, dtype=torch.bool)
    embedded = network.embed(images)
    assert torch.equal(network.encode(embedded), network.encode(embedded, image_hidden=nothing))
    shown = torch.ones(2, 64, 64)
    torch.testing.assert_close(
        network.flux_token.features(images, network.stretch.noise, shown),
        network.flux_token.features(images, network.stretch.noise),
        atol=1e-4,
        rtol=1e-4,
    )
