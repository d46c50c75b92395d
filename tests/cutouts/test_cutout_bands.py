import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.bands import band_of, bands_in, group_by_band, natural_key


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("g", "g"),
        ("HSC-G", "g"),
        ("HSC-R2", "r"),
        ("HSC-I2", "i"),
        ("lsst_g", "g"),
        ("g_band", "g"),
        ("Y", "y"),
        ("r_03", "r"),
        ("z DECam SDSS c0004 9260.0 1520.0", "z"),
        ("SCI_U", "u"),
        ("DECAM_g", "g"),
        ("NIR_Y", None),
        ("VISTA-Y", None),
        ("CHI2_G", None),
        (" i ", "i"),
        ("F814W", None),
        ("", None),
        ("IMAGE", None),
        ("clear", None),
        ("gri", None),
    ],
)
def test_spellings_of_a_band(text: str, band: str | None) -> None:
    assert band_of(text) == band


@pytest.mark.parametrize(
    "text", ["grizy", "g,r,i,z,y", "g r i z y", "HSC-G, HSC-R2, HSC-I, HSC-Z, HSC-Y", "GRIZY"]
)
def test_spellings_of_a_cubes_bands(text: str) -> None:
    assert bands_in(text) == ["g", "r", "i", "z", "y"]


def test_a_plane_that_is_no_band_keeps_its_place() -> None:
    assert bands_in("g,F814W,i") == ["g", "F814W", "i"]
    assert bands_in("") == []


@pytest.mark.parametrize(
    ("names", "stem", "bands"),
    [
        (["12_r.fits", "12_g.fits"], "12", "gr"),
        (
            ["2-cutout-HSC-I-8279-pdr2.fits", "2-cutout-HSC-R2-8279-pdr2.fits"],
            "2-cutout-8279-pdr2",
            "ri",
        ),
        (["lsst_g_7.fits", "lsst_u_7.fits"], "7", "ug"),
        (["7.g_band.fits", "7.y_band.fits"], "7", "gy"),
        (["g.fits.gz", "r.fits.gz", "z.fits.gz"], "", "grz"),
        (["f_r_x_g.fits", "f_r_x_i.fits", "f_r_x_z.fits"], "f_r_x", "giz"),
    ],
)
def test_names_that_are_one_object(names: list[str], stem: str, bands: str) -> None:
    [(found, members)] = group_by_band(names)
    assert found == stem
    assert "".join(members) == bands
    assert sorted(members.values()) == sorted(names)


@pytest.mark.parametrize(
    "names",
    [
        ["12_g.fits", "13_r.fits"],
        ["12g.fits", "12r.fits"],
        ["12_g.fits", "12_r.fits.gz"],
        ["a.fits", "b.fits", "cat_x.fits"],
        ["12_g.fits"],
    ],
)
def test_names_that_are_not(names: list[str]) -> None:
    assert group_by_band(names) == []


def test_of_two_spellings_of_a_band_the_first_belongs_to_the_object() -> None:
    [(_, members)] = group_by_band(["1-HSC-R2-x.fits", "1-HSC-R-x.fits", "1-HSC-G-x.fits"])
    assert members == {"g": "1-HSC-G-x.fits", "r": "1-HSC-R-x.fits"}


@given(st.lists(st.from_regex(r"\A[gri12a]{1,2}([-_.][grizy1]{1,2}){0,3}\.fits\Z"), unique=True))
def test_a_name_is_in_one_group_at_most_and_a_group_is_stable(names: list[str]) -> None:
    groups = group_by_band(names)
    members = [name for _, bands in groups for name in bands.values()]
    assert len(members) == len(set(members))
    assert set(members) <= set(names)
    for stem, bands in groups:
        # The reader sees the names of one object only, and must come to the same.
        assert (stem, bands) in group_by_band(bands.values())


def test_natural_order() -> None:
    names = ["10-x", "2-x", "a", "2-x1", "002-x", "1"]
    assert sorted(names, key=natural_key) == ["1", "002-x", "2-x", "2-x1", "10-x", "a"]


@given(st.text(max_size=8), st.text(max_size=8))
def test_natural_keys_differ_where_texts_do(one: str, two: str) -> None:
    assert (natural_key(one) == natural_key(two)) is (one == two)
