"""Images as they would look under other conditions."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.training.conditions import convolved, vary
from photoz_mmae.training_sets.training_set import UNKNOWN_KIND, TrainingBatch

PIXELS = torch.arange(64.0)
NOISE = torch.full((5,), 0.02)


def galaxies(n, width=4.0, centre=31.5):
    """N round Gaussian galaxies of this many pixels (standard deviation), flux 1, in five bands."""
    row = torch.exp(-(((PIXELS - centre) / width) ** 2) / 2)
    image = torch.outer(row, row)
    return (image / image.sum()).expand(n, 5, 64, 64).contiguous()


def batch_of(image, fwhm=0.7):
    n = len(image)
    return TrainingBatch(
        image=image,
        measured=torch.ones(image.shape[:2], dtype=torch.bool),
        flux=torch.ones(n, 259),
        ivar=torch.ones(n, 259),
        has_spectrum=torch.ones(n, dtype=torch.bool),
        redshift=torch.full((n,), 0.5),
        has_redshift=torch.ones(n, dtype=torch.bool),
        weight=torch.ones(n),
        ebv=torch.zeros(n),
        psf_fwhm=torch.full((n, 5), fwhm),
        kind=torch.full((n,), UNKNOWN_KIND),
    )


def varied(batch, share=1.0, seed=0, noise=NOISE):
    return vary(batch, share, 0.168, noise, torch.Generator().manual_seed(seed))


@given(
    width=st.floats(2.0, 5.0),
    sigma=st.floats(0.0, 1.5),
    rows=st.floats(-0.5, 0.5),
    columns=st.floats(-0.5, 0.5),
)
def test_a_galaxy_gets_wider_as_gaussians_do_and_moves_by_what_was_asked(
    width, sigma, rows, columns
):
    image = convolved(
        galaxies(1, width), torch.full((1, 5), sigma), torch.tensor([[rows, columns]])
    )[0, 0]
    assert abs(image.sum() - 1) < 2e-3
    share = image / image.sum()
    down, right = (share.sum(dim=1) * PIXELS).sum(), (share.sum(dim=0) * PIXELS).sum()
    assert abs(down - 31.5 - rows) < 0.02
    assert abs(right - 31.5 - columns) < 0.02
    variance = (share.sum(dim=0) * (PIXELS - right) ** 2).sum()
    assert abs(variance - width**2 - sigma**2) < 0.05 * (width**2 + sigma**2)


def test_what_is_told_of_the_seeing_is_what_the_image_has():
    batch = batch_of(galaxies(200))
    after = varied(batch, noise=torch.zeros(5))
    column = after.image.sum(dim=2)  # (N, B, S)
    column = column / column.sum(dim=2, keepdim=True)
    mean = (column * PIXELS).sum(dim=2, keepdim=True)
    variance = (column * (PIXELS - mean) ** 2).sum(dim=2)
    gained = (after.psf_fwhm**2 - 0.7**2) / (2.3548 * 0.168) ** 2
    torch.testing.assert_close(variance - 16.0, gained, atol=0.08, rtol=0.02)
    assert (after.psf_fwhm >= 0.7).all()
    assert after.psf_fwhm.std() > 0.05


def test_noise_is_added_and_zero_points_scatter():
    batch = batch_of(galaxies(400))
    flux = varied(batch, noise=torch.zeros(5)).image.sum(dim=(2, 3))
    assert 0.007 < (2.5 * flux.log10()).std() < 0.013
    corner = varied(batch).image[..., :8, :8].std(dim=(2, 3)) / NOISE
    assert corner.min() < 0.05
    assert 0.6 < corner.max() < 0.85


def test_others_stay_as_they_are_and_so_does_everything_but_the_image():
    batch = batch_of(galaxies(300) + 0.001)
    batch.psf_fwhm[:, 2] = torch.nan
    after = varied(batch, share=0.5)
    changed = (after.image != batch.image).flatten(1).any(dim=1)
    assert 110 < changed.sum() < 190
    torch.testing.assert_close(after.psf_fwhm[~changed], batch.psf_fwhm[~changed], equal_nan=True)
    assert torch.isnan(after.psf_fwhm[:, 2]).all()
    for name in ("flux", "ivar", "redshift", "ebv", "weight"):
        assert getattr(after, name) is getattr(batch, name)
    again = varied(batch, share=0.5)
    assert torch.equal(again.image, after.image)
    assert not torch.equal(varied(batch, share=0.5, seed=1).image, after.image)


def test_what_was_not_measured_stays_so():
    image = galaxies(20) + 0.001
    image[:, 1] = 0
    image[:, :, 20:24] = 0
    after = varied(batch_of(image))
    assert torch.equal(after.image == 0, image == 0)


def test_nobody_may_be_varied():
    batch = batch_of(galaxies(3))
    assert torch.equal(varied(batch, share=0.0).image, batch.image)


def test_the_smallest_images_of_a_network_are_varied_too():
    batch = batch_of(torch.rand(4, 5, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert varied(batch).image.shape == batch.image.shape
