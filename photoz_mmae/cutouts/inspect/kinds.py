"""A word on what a FITS file is, from its headers."""

from collections.abc import Sequence

from photoz_mmae.cutouts.binary_table import columns
from photoz_mmae.cutouts.companions import find_companions
from photoz_mmae.cutouts.headers import Damaged, Header


def name_kind(headers: Sequence[Header]) -> str:
    """Say what a file with these headers is; `not a cutout` where it holds no image of the sky."""
    if not headers:
        return "FITS"
    primary = headers[0]
    if primary.text("FORMAT") == "photoz-mmae shard":
        return f"packed shard of {primary.text('NOBJECTS') or '?'} objects"
    if spectra := _spectra(headers):
        return f"{spectra}: not a cutout"
    companions = find_companions(headers)
    if not companions:
        if any(_is_cells(header) for header in headers):
            return "LSST CellCoadd, a table of cells: a patch of sky, not a cutout"
        tables = sum(header.is_table for header in headers)
        return f"{_count(tables, 'table')}: not a cutout" if tables else "no image: not a cutout"
    own = list(companions.values())
    beside = [
        *(["mask"] if any(one.mask is not None for one in own) else []),
        *(["variance"] if any(one.variance is not None for one in own) else []),
    ]
    described = _images(headers, [headers[index] for index in companions])
    return described + (f", with {' and '.join(beside)}" if beside else "")


def _images(headers: Sequence[Header], images: Sequence[Header]) -> str:
    primary = headers[0]
    shapes = [len(image.plain_shape) for image in images]
    model = primary.text("DATAMODL").rsplit("/", 1)[-1]
    if model:
        kinds = {"cell_coadd": "CellCoadd", "masked_image": "masked image", "image": "image"}
        name = model.split("-")[0]
        return f"LSST {kinds.get(name, name)}{_cutout_of(primary)}"
    if any(header.text("EXTTYPE") == "ARCHIVE_INDEX" for header in headers):
        return f"LSST ExposureF{_cutout_of(primary)}"
    if primary.text("BTLRNAME"):
        return f"LSST image{_cutout_of(primary)}"
    if b"DAS Cutout" in primary.all_cards or (
        not primary.shape and primary.text("FILTER") and primary.text("FLUXMAG0")
    ):
        return "file of the HSC cutout service, one band"
    if shapes == [3]:
        return "cube of bands"
    if shapes == [2]:
        return "image of one band"
    if set(shapes) == {2}:
        return f"one HDU per band, {len(images)} images"
    return _count(len(images), "image")


def _cutout_of(primary: Header) -> str:
    name = primary.text("BTLRNAME")
    return f", cutout of a {name}" if name else ""


def _spectra(headers: Sequence[Header]) -> str:
    names = [header.text("EXTNAME").upper() for header in headers]
    arms = [name[: -len("_WAVELENGTH")] for name in names if name.endswith("_WAVELENGTH")]
    if any(f"{arm}_FLUX" in names for arm in arms):
        return f"spectra of DESI, arms {', '.join(arms)}"
    for header in headers:
        if header.is_table:
            try:
                held = {name.lower() for name, _, _ in columns(header)}
            except Damaged:
                continue
            if {"flux", "loglam"} <= held:
                return f"spectrum of SDSS, {header.text('NAXIS2')} pixels"
    return ""


def _is_cells(header: Header) -> bool:
    """Whether a table holds the cells of a coadd, as lsst/cell_coadds writes them."""
    return header.is_table and header.number("GRCELL1") is not None and bool(header.text("OCELL1"))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
