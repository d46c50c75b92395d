"""Our network: what is hidden cannot be seen, and what is absent is allowed to be."""

import pytest
import torch

from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.mmae import MMAE, Spectra
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.model.tokens import to_patches

SETTINGS = MMAENetwork(width=32, depth=2, heads=2, decoder_width=16, redshift_bins=40)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = MMAE(SETTINGS)
    network.fit(torch.randn(8, 5, 64, 64))
    return network.eval()


@pytest.fixture
def images():
    return torch.randn(3, 5, 64, 64, generator=torch.Generator().manual_seed(5)) * 3


@torch.no_grad()
def test_shapes(network, images):
    encoded = network.encode(network.embed(images))
    assert encoded.shape == (3, 2 + 64, 32)
    assert network.redshift_logits(encoded).shape == (3, 40)
    assert network.decode_spectrum(encoded).shape == (3, 259)
    assert network.decode_patches(encoded).shape == (3, 64, 5 * 64)


@torch.no_grad()
def test_hidden_patches_are_left_out_and_cannot_be_seen(network, images):
    hidden = draw_mask(3, 64, 0.5, torch.Generator().manual_seed(1))
    tokens = network.image_tokens(network.stretch(images))
    changed = images.clone()
    pixels = hidden.view(3, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed[pixels.expand_as(changed)] += 1.0
    tokens_changed = network.image_tokens(network.stretch(changed))
    assert torch.equal(tokens[~hidden], tokens_changed[~hidden])
    assert not torch.isclose(tokens[hidden], tokens_changed[hidden]).all(dim=-1).any()
    assert network.encode(network.embed(images), image_hidden=hidden).shape[1] == 2 + 32


@torch.no_grad()
def test_spectrum_is_used_when_there_and_not_needed(network, images):
    flux = torch.rand(3, 259, generator=torch.Generator().manual_seed(2)) + 0.5
    valid = torch.ones(3, 259, dtype=torch.bool)
    alone = network.redshift_logits(network.encode(network.embed(images)))
    both = network.redshift_logits(network.encode(network.embed(images), Spectra(flux, valid)))
    assert not torch.allclose(alone, both)
    hidden = torch.ones(3, SETTINGS.spectrum_tokens, dtype=torch.bool)
    unseen = network.redshift_logits(
        network.encode(network.embed(images), Spectra(flux, valid), spectrum_hidden=hidden)
    )
    torch.testing.assert_close(unseen, alone)


@torch.no_grad()
def test_invalid_pixels_of_a_spectrum_do_not_matter(network, images):
    flux = torch.ones(3, 259)
    valid = torch.ones(3, 259, dtype=torch.bool)
    valid[:, 100:120] = False
    wild = flux.clone()
    wild[:, 100:120] = float("nan")
    first = network.encode(network.embed(images), Spectra(flux, valid))
    second = network.encode(network.embed(images), Spectra(wild, valid))
    assert torch.equal(first, second)


def test_patches_are_cut_row_by_row():
    image = torch.arange(2 * 64 * 64, dtype=torch.float32).view(1, 2, 64, 64)
    patches = to_patches(image, 8)
    assert torch.equal(patches[0, 9].view(2, 8, 8), image[0, :, 8:16, 8:16])


@torch.no_grad()
def test_flux_token_measures_an_aperture(network):
    """A flat image's flux in an aperture is the aperture's area in pixels."""
    areas = network.flux_token.weights.sum(dim=(1, 2))
    radii = torch.tensor([0.5, 0.85, 1.3, 2.0, 3.0, 4.5]) / 0.168
    torch.testing.assert_close(areas, torch.pi * radii**2, rtol=0.02, atol=0)


@torch.no_grad()
def test_stretch_standardises_each_band(network):
    image = torch.randn(16, 5, 64, 64) * torch.tensor([1, 2, 4, 8, 16.0]).view(5, 1, 1)
    fresh = MMAE(SETTINGS)
    fresh.fit(image)
    stretched = fresh.stretch(image).transpose(0, 1).flatten(1)
    torch.testing.assert_close(stretched.mean(dim=1), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(stretched.std(dim=1), torch.ones(5), rtol=0, atol=1e-4)
    # 0.603 of sigma for white Gaussian noise.
    torch.testing.assert_close(
        fresh.stretch.noise, 0.603 * torch.tensor([1, 2, 4, 8, 16.0]), rtol=0.02, atol=0
    )
