"""Galactic dust: what the network gets does not depend on how much of it there was."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.model.dust import Dust, usable_ebv
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import MMAENetwork
from photoz_mmae.surveys import HSC_WIDE

R = HSC_WIDE.extinction
TINY = MMAENetwork(width=16, depth=1, heads=2, decoder_width=8, redshift_bins=20)


def images(n, seed=0):
    return torch.randn(n, 5, 64, 64, generator=torch.Generator().manual_seed(seed)) * 3


@given(st.lists(st.floats(0, 5), min_size=1, max_size=4), st.integers(0, 2**31))
def test_reddening_is_undone(ebv, seed):
    clear = images(len(ebv), seed)
    ebv = np.array(ebv)
    # By its definition, in double precision: A = R E(B-V), flux * 10^(-0.4 A).
    dimmed = clear.double() * torch.from_numpy(10 ** (-0.4 * ebv[:, None] * R))[:, :, None, None]
    found, _ = Dust("deredden", R).prepare(dimmed.float(), torch.from_numpy(ebv).float())
    torch.testing.assert_close(found, clear, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dust", [Dust(), Dust("input"), Dust("deredden", R)])
def test_no_dust_and_unknown_dust_change_no_pixel(dust):
    clear = images(2)
    found, _ = dust.prepare(clear, torch.tensor([0.0, torch.nan]))
    assert torch.equal(found, clear)


@pytest.mark.parametrize("dust", [Dust(), Dust("input")])
def test_only_deredden_touches_images(dust):
    image, ebv = dust.prepare(images(2), torch.tensor([0.3, 0.1]))
    assert torch.equal(image, images(2))
    assert ebv.tolist() == pytest.approx([0.3, 0.1])


def test_what_is_no_ebv_is_missing():
    values = [0.0, 0.02, 5.0, -1e-9, -99.0, 5.1, 99.0, np.nan, np.inf]
    np.testing.assert_array_equal(
        usable_ebv(values), np.array([0.0, 0.02, 5.0, *[np.nan] * 6], np.float32)
    )


@torch.no_grad()
def test_token_of_ebv_counts_and_unknown_is_not_zero():
    torch.manual_seed(0)
    network = MMAE(TINY, takes_ebv=True).eval()
    network.fit(images(8))

    def logits(ebv):
        return network.redshift_logits(network.encode(network.embed(images(1), ebv)))

    unknown = logits(None)
    assert torch.equal(unknown, logits(torch.tensor([torch.nan])))
    assert network.encode(network.embed(images(1))).shape == (1, 3 + 64, 16)
    for a, b in (("0.0", "nan"), ("0.0", "0.1"), ("0.1", "1.0")):
        pair = [logits(torch.tensor([float(value)])) for value in (a, b)]
        assert not torch.allclose(*pair), (a, b)


@torch.no_grad()
def test_hidden_patches_are_those_of_the_image_with_the_token_too():
    torch.manual_seed(0)
    network = MMAE(TINY, takes_ebv=True).eval()
    network.fit(images(8))
    hidden = torch.zeros(1, 64, dtype=torch.bool)
    hidden[0, :10] = True
    changed = images(1)
    changed[:, :, :8] += 1.0  # the first row of eight patches
    ebv = torch.tensor([0.1])
    seen = [network.embed(each, ebv).patches for each in (images(1), changed)]
    assert not torch.equal(seen[0][:, :8], seen[1][:, :8])
    assert torch.equal(seen[0][:, 10:], seen[1][:, 10:])
    encoded = network.encode(network.embed(images(1), ebv), image_hidden=hidden)
    assert encoded.shape == (1, 3 + 54, 16)
