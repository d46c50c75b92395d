"""The network `base`: ratios of fluxes, absent bands, a spectrum alone, patches on request."""

import pytest
import torch

from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.mmae import MMAE, Spectra
from photoz_mmae.model.presets import MMAENetwork

SETTINGS = MMAENetwork(
    width=32, depth=2, heads=2, decoder_width=16, redshift_bins=40, colours=True, dropout=0.2
)
SHARES = 2 * 5 * 6  # features that are no ratios of adjacent bands or apertures


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = MMAE(SETTINGS, takes_bands=True)
    network.fit(torch.randn(8, 5, 64, 64))
    return network.eval()


@pytest.fixture
def images():
    """Bright round objects of different colours, far above the noise."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    blob = torch.exp(-(x.square() + y.square()) / 50)
    colour = torch.tensor([[1.0, 2, 3, 4, 5], [5, 4, 3, 2, 1], [2, 2, 2, 2, 2]])
    return 100 * colour[:, :, None, None] * blob


@torch.no_grad()
def test_ratios_are_those_of_the_fluxes(network, images):
    features = network.flux_token.features(images, network.stretch.noise)
    assert features.shape == (3, SHARES + 4 * 6 + 5 * 5)
    flux = torch.einsum("nbij,aij->nba", images, network.flux_token.weights)
    colours = features[:, SHARES : SHARES + 24].view(3, 4, 6)
    torch.testing.assert_close(colours, (flux[:, 1:] / flux[:, :-1]).log())
    growth = features[:, SHARES + 24 :].view(3, 5, 5)
    torch.testing.assert_close(growth, (flux[:, :, 1:] / flux[:, :, :-1]).log())
    brighter = network.flux_token.features(3 * images, network.stretch.noise)
    torch.testing.assert_close(brighter[:, SHARES:], features[:, SHARES:])
    assert (brighter[:, :30] > features[:, :30]).all()


@torch.no_grad()
@pytest.mark.parametrize("band", range(5))
def test_an_absent_band_tells_nothing_in_any_ratio(network, images, band):
    present = torch.ones(3, 5, dtype=torch.bool)
    present[:, band] = False
    other = images.clone()
    other[:, band] *= 7
    noise = network.stretch.noise
    first = network.flux_token(images, noise, present)
    # The share of all bands is of those that are there: `embed` shows absent ones as zeros.
    seen = [network.encode(network.embed(each, present=present)) for each in (images, other)]
    assert torch.equal(*seen)
    assert not torch.equal(first, network.flux_token(images, noise, torch.ones_like(present)))


@torch.no_grad()
def test_a_spectrum_alone_is_all_there_is(network, images):
    flux = torch.rand(3, 259, generator=torch.Generator().manual_seed(2)) + 0.5
    spectra = Spectra(flux, torch.ones(3, 259, dtype=torch.bool))
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    hidden = torch.ones(3, 64, dtype=torch.bool)

    def logits(image, shown):
        embedded = network.embed(image, present=nothing)
        encoded = network.encode(embedded, shown, image_hidden=hidden)
        assert encoded.shape[1] == 2 + SETTINGS.spectrum_tokens
        return network.redshift_logits(encoded)

    assert torch.equal(logits(images, spectra), logits(images.flip(0), spectra))
    other = Spectra(flux.flip(0), spectra.valid)
    assert not torch.allclose(logits(images, spectra), logits(images, other))


@torch.no_grad()
def test_wanted_patches_are_those_of_all(network, images):
    encoded = network.encode(network.embed(images))
    wanted = draw_mask(3, 64, 0.4, torch.Generator().manual_seed(3))
    some = network.decode_patches(encoded, wanted)
    every = network.decode_patches(encoded)
    torch.testing.assert_close(some, every[wanted].view(3, -1, 5 * 64))


def test_dropout_is_for_training_only(network, images):
    fresh = MMAE(SETTINGS, takes_bands=True)
    fresh.train()
    with torch.no_grad():
        first, second = (fresh.encode(fresh.embed(images)) for _ in range(2))
        assert not torch.equal(first, second)
        fresh.eval()
        first, second = (fresh.encode(fresh.embed(images)) for _ in range(2))
    assert torch.equal(first, second)
