"""Missing pixels: filled from the other side or hidden, and never another object's business."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.inference.engine import Engine
from photoz_mmae.inference.missing import complete
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork, PublishedNetwork
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import TrainedModel

NETWORK = MMAENetwork(
    width=16, depth=2, heads=2, decoder_width=8, redshift_bins=20, hides_fluxes=True
)


@pytest.fixture(scope="module", params=["ours", "published"])
def model(request, tiny_info):
    torch.manual_seed(0)
    if request.param == "ours":
        return TrainedModel(MMAE(NETWORK), tiny_info)
    network = PublishedMMAE(PublishedNetwork(width=16, depth=1, heads=2, fusion_blocks=1))
    return TrainedModel(network, tiny_info)


def images(n=7):
    return np.random.default_rng(1).normal(1, 1, size=(n, 5, 64, 64)).astype(np.float32)


def values(prediction):
    return {name: value for name, value in vars(prediction).items() if value is not None}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.05, 0.5, 0.9]))
def test_a_pixel_is_measured_or_opposite_or_hidden(seed, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(5, 1, (2, 3, 16, 16)).astype(np.float32)
    missing = rng.random(image.shape) < share * rng.random((2, 1, 1, 1))
    image[missing] = 0
    before = image.copy()
    done = complete(image, missing, 8)
    np.testing.assert_array_equal(image, before)
    there = done.present[:, :, None, None]
    hidden = done.hidden.reshape(2, 1, 2, 2).repeat(8, 2).repeat(8, 3)
    opposite = image[:, :, ::-1, ::-1]
    measured = ~missing[:, :, ::-1, ::-1]
    np.testing.assert_array_equal(done.images[~missing], image[~missing])
    filled = missing & measured
    np.testing.assert_array_equal(done.images[filled], opposite[filled])
    assert (hidden | ~missing | measured | ~there).all()
    neither = (missing & ~measured & there).any(axis=1)
    np.testing.assert_array_equal(done.unmeasured, neither)
    # No patch is hidden for nothing.
    half = missing.reshape(2, 3, 2, 8, 2, 8).mean(axis=(1, 3, 5)) >= 0.5
    neither = (missing & ~measured & there).reshape(2, 3, 2, 8, 2, 8).any(axis=(1, 3, 5))
    if done.present.all():
        np.testing.assert_array_equal(done.hidden, (half | neither).reshape(2, 4))


def test_nothing_missing_changes_nothing(model):
    engine = Engine(model, "cpu", 4, masks=2)
    plain = values(engine.predict(images()))
    told = values(engine.predict(images(), missing=np.zeros((7, 5, 64, 64), bool)))
    for name, value in plain.items():
        np.testing.assert_array_equal(told[name], value)


def test_what_is_missing_of_one_object_is_no_business_of_the_others(model):
    engine = Engine(model, "cpu", 8, masks=2)
    missing = np.zeros((7, 5, 64, 64), bool)
    missing[2, :, :20], missing[2, :, -20:] = True, True
    missing[5, :, 20:40, 20:40] = True
    missing[6, 3, 5, 5] = True
    plain = values(engine.predict(images()))
    told = values(engine.predict(images(), missing=missing))
    alone = values(engine.predict(images()[5:6], missing=missing[5:6]))
    for name, value in told.items():
        np.testing.assert_array_equal(value[[0, 1, 3, 4]], plain[name][[0, 1, 3, 4]])
        np.testing.assert_array_equal(value[5:6], alone[name])
        assert (value[[2, 5]] != plain[name][[2, 5]]).any()


def test_hidden_patches_cannot_be_seen(model):
    """Whatever stands in them, with and without a quarter of the image hidden besides."""
    engine = Engine(model, "cpu", 4, masks=4)
    missing = np.zeros((1, 5, 64, 64), bool)
    missing[:, :, :16], missing[:, :, -16:] = True, True
    first, second = images(1), images(1)
    second[missing] += 100
    told = values(engine.predict(second, missing=missing))
    for name, value in values(engine.predict(first, missing=missing)).items():
        np.testing.assert_array_equal(told[name], value)


@torch.no_grad()
def test_leaving_out_and_not_looking_are_the_same():
    torch.manual_seed(0)
    network = MMAE(NETWORK).eval()
    embedded = network.embed(torch.from_numpy(images(3)))
    lost = torch.zeros(3, 64, dtype=torch.bool)
    lost[:, 10:30] = True
    out = network.encode(embedded, image_hidden=lost)
    there = network.tokens_there(lost)
    pixels = lost.view(3, 8, 8).repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    kept = network.encode(embedded, there=there, unmeasured=pixels)
    torch.testing.assert_close(kept[:, there[0]], out)
    torch.testing.assert_close(network.decode_spectrum(kept, there), network.decode_spectrum(out))


def test_images_in_any_order_in_memory_are_completed_alike():
    image = images()
    missing = np.random.default_rng(2).random(image.shape) < 0.1
    image[missing] = 0
    other = np.moveaxis(np.ascontiguousarray(np.moveaxis(image, 1, -1)), -1, 1)
    for one, two in zip(
        vars(complete(image, missing, 8)).values(),
        vars(complete(other, missing, 8)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
