import math
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.cutouts.headers import BLOCK, walk_headers
from photoz_mmae.cutouts.wcs import AstropyWcs, TangentPlane, Wcs, read_wcs, tangent_numbers


def our(head: fits.Header, x_axis: int = 1) -> Wcs | None:
    raw = fits.PrimaryHDU(np.zeros((4, 4), np.uint8), head).header.tostring().encode()
    raw += bytes(BLOCK)
    return read_wcs(next(walk_headers(lambda offset, n: raw[offset : offset + n])), x_axis)


def tan_header(ra: float, dec: float, angle: float, style: str, flip: float = -1.0) -> fits.Header:
    head = fits.Header()
    head["CTYPE1"], head["CTYPE2"] = "RA---TAN", "DEC--TAN"
    head["CRVAL1"], head["CRVAL2"], head["CRPIX1"], head["CRPIX2"] = ra, dec, -300.25, 41.0
    step = 0.168 / 3600
    c, s = math.cos(angle), math.sin(angle)
    matrix = {"1_1": flip * c, "1_2": -s, "2_1": flip * s, "2_2": c}
    for name, value in matrix.items():
        head[f"{'CD' if style == 'cd' else 'PC'}{name}"] = value * (step if style == "cd" else 1)
    if style == "pc":
        head["CDELT1"] = head["CDELT2"] = step
    return head


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-89.9, 89.9),
    angle=st.floats(0, 6.28),
    style=st.sampled_from(["cd", "pc"]),
    flip=st.sampled_from([-1.0, 1.0]),
    x=st.floats(-100, 100),
    y=st.floats(-100, 100),
)
def test_tangent_plane_agrees_with_astropy_and_returns(
    ra: float, dec: float, angle: float, style: str, flip: float, x: float, y: float
) -> None:
    head = tan_header(ra, dec, angle, style, flip)
    wcs = our(head)
    assert isinstance(wcs, TangentPlane)
    sky = wcs.to_sky(x, y)
    expected = WCS(head).all_pix2world([[x, y]], 0)[0]
    assert abs((sky[0] - expected[0] + 180) % 360 - 180) * math.cos(math.radians(dec)) < 1e-8
    assert sky[1] == pytest.approx(expected[1], abs=1e-8)
    assert wcs.to_pixel(*sky) == pytest.approx((x, y), abs=1e-3)
    assert wcs.pixel_scale == pytest.approx(0.168)


@settings(max_examples=200)
@given(
    ra=st.sampled_from([0.0, 1e-7, 359.9999999, 360.0, -0.001, 180.0]) | st.floats(-180, 360),
    dec=st.sampled_from([90.0, -90.0, 89.99999, -89.99999, 0.0]) | st.floats(-90, 90),
    angle=st.floats(0, 6.28),
    style=st.sampled_from(["cd", "pc", "cdelt"]),
    step=st.floats(0.03, 3.0),
    stretch=st.floats(0.5, 2.0),
    skew=st.floats(-0.4, 0.4),
    flip=st.sampled_from([-1.0, 1.0]),
    pole=st.sampled_from([None, 180.0]),
    crpix=st.tuples(st.floats(-40_000, 40_000), st.floats(-40_000, 40_000)),
    x=st.floats(-0.5, 200),
    y=st.floats(-0.5, 200),
)
def test_positions_are_astropys_to_a_millionth_of_a_pixel(
    ra: float,
    dec: float,
    angle: float,
    style: str,
    step: float,
    stretch: float,
    skew: float,
    flip: float,
    pole: float | None,
    crpix: tuple[float, float],
    x: float,
    y: float,
) -> None:
    head = fits.Header()
    head["CTYPE1"], head["CTYPE2"] = "RA---TAN", "DEC--TAN"
    head["CRVAL1"], head["CRVAL2"], head["CRPIX1"], head["CRPIX2"] = ra, dec, *crpix
    head["LATPOLE"] = dec
    if pole is not None:
        head["LONPOLE"] = pole
    steps = np.diag([flip * step, step * stretch]) / 3600
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s], [s, c + skew]]) if abs(c + skew * c) > 0.1 else np.eye(2)
    matrix = np.eye(2) if style == "cdelt" else turn
    if style != "cd":
        head["CDELT1"], head["CDELT2"] = steps.diagonal()
    for i in (1, 2):
        for j in (1, 2):
            if style == "pc":
                head[f"PC{i}_{j}"] = matrix[i - 1, j - 1]
            elif style == "cd":
                head[f"CD{i}_{j}"] = (steps @ matrix)[i - 1, j - 1]
    wcs = our(head)
    assert isinstance(wcs, TangentPlane)
    expected = WCS(head)
    sky = expected.wcs_pix2world([[x, y]], 0)[0]
    # Both ways: a sky position through both, and ours there and back again.
    assert wcs.to_pixel(*sky) == pytest.approx(expected.wcs_world2pix([sky], 0)[0], abs=1e-6)
    back = expected.wcs_world2pix([wcs.to_sky(x, y)], 0)[0]
    assert back == pytest.approx((x, y), abs=1e-6)


@pytest.mark.parametrize(("pole", "is_plain"), [(180.0, True), (170.0, False)])
def test_poles_under_their_other_names(pole: float, is_plain: bool) -> None:
    head = tan_header(150, 2, 0.3, "pc")
    head["PV1_3"], head["PV1_4"], head["LATPOLE"] = pole, 2.0, 2.0
    wcs = our(head)
    assert isinstance(wcs, TangentPlane) == is_plain
    assert wcs is not None
    assert wcs.to_sky(7, 9) == pytest.approx(WCS(head).all_pix2world([[7, 9]], 0)[0], abs=1e-9)


def test_the_far_side_of_the_sky_has_no_pixel() -> None:
    wcs = our(tan_header(150, 2, 0, "cd"))
    assert wcs is not None
    assert all(math.isnan(value) for value in wcs.to_pixel(330, -2))


@pytest.mark.parametrize(
    "change", [{"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, {"LONPOLE": 90.0}]
)
def test_other_projections_go_to_astropy(change: dict[str, object]) -> None:
    head = tan_header(150, 2, 0.3, "cd")
    head.update(change)
    wcs = our(head)
    assert isinstance(wcs, AstropyWcs)
    assert wcs.to_sky(10, 20) == pytest.approx(WCS(head).all_pix2world([[10, 20]], 0)[0])
    assert wcs.to_pixel(*wcs.to_sky(10, 20)) == pytest.approx((10, 20), abs=1e-6)
    assert wcs.pixel_scale == pytest.approx(0.168)


@pytest.mark.parametrize("projection", ["TAN", "SIN"])
def test_declination_may_be_the_first_axis(projection: str) -> None:
    head = tan_header(150, 2, 0.3, "cd")
    head["CTYPE1"], head["CTYPE2"] = f"DEC--{projection}", f"RA---{projection}"
    head["CRVAL1"], head["CRVAL2"] = 2.0, 150.0
    wcs = our(head)
    assert wcs is not None
    dec, ra = WCS(head).all_pix2world([[10, 20]], 0)[0]
    assert wcs.to_sky(10, 20) == pytest.approx((ra, dec))
    assert wcs.to_pixel(ra, dec) == pytest.approx((10, 20), abs=1e-6)
    x, y = wcs.to_pixels(np.array([ra]), np.array([dec]))
    assert (x[0], y[0]) == pytest.approx((10, 20), abs=1e-6)


@pytest.mark.parametrize("dec", [90.0, -90.0, 89.9])
def test_numbers_that_are_known_where_they_are_mean_the_same(dec: float) -> None:
    raw = fits.PrimaryHDU(np.zeros((4, 4), np.uint8), tan_header(150, dec, 0.3, "cd")).header
    content = raw.tostring().encode() + bytes(BLOCK)
    head = next(walk_headers(lambda offset, n: content[offset : offset + n]))
    numbers = tangent_numbers(head, 1)
    assert numbers
    assert read_wcs(head, linear=numbers) == read_wcs(head)


def test_distortions_go_to_astropy() -> None:
    head = tan_header(150, 2, 0, "cd")
    head["CTYPE1"], head["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    head["A_ORDER"] = head["B_ORDER"] = 2
    head["A_2_0"], head["B_0_2"] = 1e-5, 2e-5
    wcs = our(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = WCS(head).all_pix2world([[10, 20]], 0)[0]
    assert wcs is not None
    assert wcs.to_sky(10, 20) == pytest.approx(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CD1_1": 0.0, "CD1_2": 0.0},
        {"CRVAL2": 95.0},
        {"CRVAL1": "150"},
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    ],
)
def test_no_wcs_where_the_header_has_none_that_works(change: dict[str, object]) -> None:
    head = tan_header(150, 2, 0, "cd")
    for key, value in change.items():
        head[key] = value
    assert our(head) is None
    assert our(fits.Header()) is None


def test_the_axes_of_a_cube_with_bands_fastest() -> None:
    head = fits.Header()
    for key, value in tan_header(150, 2, 0.4, "cd").items():
        head[
            key.replace("2", "3").replace("1", "2")
            if key[:2] != "CD"
            else "CD" + "_".join(str(int(n) + 1) for n in key[2:].split("_"))
        ] = value
    plane = our(tan_header(150, 2, 0.4, "cd"))
    assert plane is not None
    assert our(head) is None
    assert our(head, x_axis=2) == plane


def test_an_old_name_of_the_matrix_is_obeyed() -> None:
    """As in skycells of Pan-STARRS: east is to the left by PC001001 alone."""
    head = tan_header(150, 2, 0.0, "pc")
    for new, old in (("PC1_1", "PC001001"), ("PC2_2", "PC002002")):
        head[old] = head.pop(new)
    del head["PC1_2"], head["PC2_1"]
    wcs = our(head)
    assert wcs is not None
    expected = our(tan_header(150, 2, 0.0, "pc"))
    assert expected is not None
    assert wcs.to_sky(10, 20) == pytest.approx(expected.to_sky(10, 20))
