"""A preset's network becomes one for the images at hand, or says why it cannot."""

import pytest
import torch

from photoz_mmae.errors import InputError
from photoz_mmae.model.frame import Frame, network_for
from photoz_mmae.model.presets import load_preset
from photoz_mmae.model.weights import build_network

HSC = Frame(("g", "r", "i", "z", "y"), 64, 0.168)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_presets_are_for_hsc(name):
    network = load_preset(name).network
    assert network_for(network, HSC, "t.hdf5") == network


def test_six_bands_of_another_size_and_scale():
    settings = network_for(load_preset("small").network, Frame(tuple("ugrizy"), 48, 0.2), "here")
    network = build_network(settings)
    tokens = network.encode(network.embed(torch.rand(2, 6, 48, 48)))
    assert tokens.shape == (2, 2 + 36, settings.width)
    # Apertures are circles on the sky: at 0.2" a pixel the smallest, of 0.5", holds so many.
    assert network.flux_token.weights[0].sum() == pytest.approx(
        torch.pi * (0.5 / 0.2) ** 2, rel=0.1
    )


@pytest.mark.parametrize(
    ("preset", "frame", "said"),
    [
        (
            "paper",
            Frame(HSC.bands, 48, 0.168),
            "here: images of 5 bands (grizy) and 48 x 48 pixels",
        ),
        ("paper", Frame(tuple("ugrizy"), 64, 0.2), "takes 5 bands of 64 x 64"),
        ("small", Frame(HSC.bands, 60, 0.168), "patches of 8 pixels"),
    ],
)
def test_images_that_a_network_cannot_take(preset, frame, said):
    with pytest.raises(InputError) as error:
        network_for(load_preset(preset).network, frame, "here")
    assert said in str(error.value)
