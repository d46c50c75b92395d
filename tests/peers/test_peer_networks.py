"""The networks that see images only, and what is measured on the images for them."""

import pytest
import torch

from photoz_mmae.model.frame import Frame
from photoz_mmae.peers import bcnn, inception
from photoz_mmae.peers.bcnn import BayesianCNN, Variational
from photoz_mmae.peers.image_only import Photometry
from photoz_mmae.peers.inception import DeepZ
from photoz_mmae.peers.registry import make_contestant
from photoz_mmae.training.course import Pace
from photoz_mmae.training_sets.training_set import TrainingBatch

HSC = Frame(("g", "r", "i", "z", "y"), 64, 0.168)


def galaxies(n, frame=HSC, flux=100.0):
    """Blobs of a total flux in every band, off the diagonal, and noise: (n, B, S, S)."""
    generator = torch.Generator().manual_seed(3)
    size, bands = frame.image_size, len(frame.bands)
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    blob = torch.exp(-((x - 1).square() / 18 + y.square() / 8))
    noise = 0.03 * torch.randn(n, bands, size, size, generator=generator)
    return flux * blob / blob.sum() + noise


def batch_of(image):
    n = len(image)
    none, one = torch.zeros(n, 259), torch.ones(n)
    redshift = torch.linspace(0.1, 1.2, n)
    return TrainingBatch(
        image=image,
        measured=torch.ones(image.shape[:2], dtype=torch.bool),
        flux=none,
        ivar=none,
        has_spectrum=one < 0,
        redshift=redshift,
        has_redshift=one > 0,
        weight=one,
        ebv=0 * one,
        psf_fwhm=image[:, :, 0, 0],
        kind=one.long(),
    )


def test_magnitudes_are_those_of_the_flux():
    photometry = Photometry(HSC, (1.0, 4.0))
    photometry.fit(galaxies(8))
    faint, bright = photometry(galaxies(8)), photometry(galaxies(8, flux=1000.0))
    assert torch.allclose(faint[:, :, 1], torch.tensor(27 - 5.0), atol=0.1)
    assert torch.allclose(faint - bright, torch.tensor(2.5), atol=0.1)
    assert (faint[:, :, 0] > faint[:, :, 1]).all()
    assert torch.isfinite(photometry(-galaxies(8))).all()


def test_magnitudes_are_softened_at_the_noise_of_sky():
    photometry = Photometry(HSC, (2.0,))
    photometry.fit(galaxies(64, flux=0.0))
    pixels = torch.pi * (2.0 / HSC.pixel_scale) ** 2
    expected = torch.tensor(0.03 * pixels**0.5)
    assert torch.allclose(photometry.softening, expected, rtol=0.03)


def test_magnitudes_keep_their_precision_where_products_are_reduced():
    photometry = Photometry(HSC, (2.0,))
    photometry.fit(galaxies(8))
    with torch.autocast("cpu", torch.bfloat16):
        reduced = photometry(galaxies(8))
    assert torch.equal(reduced, photometry(galaxies(8)))


@pytest.mark.parametrize("name", ["inception", "bcnn", "colours"])
def test_any_number_of_bands_and_pixels(name):
    frame = Frame(tuple("ugrizy"), 48, 0.2)
    contestant = make_contestant(name, frame)
    image = galaxies(8, frame)
    contestant.fit(batch_of(image), 8)
    contestant.network.eval()
    assert contestant.redshift(batch_of(image)).shape == (8,)


@pytest.mark.parametrize("name", ["inception", "bcnn"])
def test_only_the_turned_variant_turns_images(name):
    batch = batch_of(galaxies(16))
    shown = {}
    for variant in (name, f"{name}-turned"):
        (stage,) = make_contestant(variant, HSC).stages()
        objective = stage.make_objective(stage.network, torch.float32)
        (view,) = objective.views(batch, torch.Generator().manual_seed(0))
        (untouched,) = objective.validation_views(batch, torch.Generator().manual_seed(0))
        assert torch.equal(untouched.batch.image, batch.image)
        shown[variant] = view.batch.image
    assert torch.equal(shown[name], batch.image)
    turned = shown[f"{name}-turned"]
    assert not torch.equal(turned, batch.image)
    assert torch.allclose(turned.sum(dim=(2, 3)), batch.image.sum(dim=(2, 3)), rtol=1e-4)


def test_inception_has_the_published_parameters():
    assert sum(p.numel() for p in DeepZ(HSC).parameters()) == 995_177


def test_inception_costs_the_distance_in_bins():
    network = DeepZ(HSC)
    logits = torch.full((3, inception.BINS), -100.0)
    logits[:, 50] = 100.0  # all of p(z) between 1.00 and 1.02
    loss = network.loss(logits, torch.tensor([1.01, 1.07, 0.95]))
    assert torch.allclose(loss, torch.tensor([0.0, 3.0, 3.0]), atol=1e-4)
    assert torch.allclose(network.redshift(logits), torch.tensor(1.01), atol=1e-4)


def test_inception_halves_its_rate_without_progress():
    def rate(*losses):
        return inception.rate_on_plateau(Pace(0, 1, 1, losses))

    assert rate() == 1
    assert rate(3.0, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4) == 1
    assert rate(3.0, *[3.0] * 5) == 1
    assert rate(3.0, *[3.0] * 6) == 0.5
    assert rate(3.0, *[3.0] * 12) == 0.25
    assert rate(3.0, *[3.0] * 6, 2.0, *[2.0] * 5) == 0.5
    assert rate(3.0, *[3.0] * 100) == inception.LEAST_RATE / inception.RATE


def test_bcnn_gives_the_same_redshift_whoever_the_neighbours_are():
    network = BayesianCNN(HSC).eval()
    image = galaxies(6)
    state = torch.get_rng_state()
    with torch.no_grad():
        together = network.redshift(network(image))
        again = network.redshift(network(image))
        alone = network.redshift(network(image[2:3]))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again, together)
    assert torch.allclose(alone, together[2:3], atol=1e-5)


def test_bcnn_passes_differ():
    network = BayesianCNN(HSC)
    image = galaxies(6)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        passes = network.eval()(image)[..., 0]
    assert passes.shape == (6, bcnn.PASSES)
    assert (passes.std(dim=1) > 0).all()


def test_drawn_activations_spread_as_drawn_weights():
    torch.manual_seed(2)
    layer = Variational(30, 4)
    x = torch.randn(30)
    with torch.no_grad():
        activations = layer(x.expand(4000, 30))
        weights = layer.mean + layer.posterior_std() * torch.randn(4000, 4, 31)
        direct = weights[:, :, :30] @ x + weights[:, :, 30]
    error = direct.std(dim=0) / 4000**0.5
    assert ((activations.mean(dim=0) - direct.mean(dim=0)).abs() < 6 * error).all()
    assert torch.allclose(activations.std(dim=0), direct.std(dim=0), rtol=0.1)


def test_bcnn_shares_the_divergence_among_the_training_objects():
    network = BayesianCNN(HSC)
    output, redshift = torch.zeros(5, 1, 2), torch.full((5,), 0.5)
    expected = sum(
        torch.distributions.kl_divergence(
            torch.distributions.Normal(layer.mean, layer.posterior_std()),
            torch.distributions.Normal(layer.prior, 1.0),
        )
        .double()
        .sum()
        for layer in (network.first, network.second)
    )
    alone = network.eval().loss(output, redshift)
    assert torch.allclose(
        alone,
        -torch.distributions.Normal(0.0, torch.log(torch.tensor(2.0)) + bcnn.LEAST_WIDTH).log_prob(
            redshift
        ),
    )
    network.train().fit(galaxies(2), 1000)
    shared = (network.loss(output, redshift) - alone).double()
    assert torch.allclose(shared, expected / 1000, rtol=1e-3)
