"""Every column of the catalogue: type, unit, UCD, description.

A column is in a file only when it is real: what the model, the options and the version of this
program do not provide is absent, not empty. In columns of numbers null means "not measured"
(NaN for readers that know no null); elements of lists are NaN there. Ids, sources, flags and
`bands_used` are never null.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from photoz_mmae.flags import CLEAN_CUT
from photoz_mmae.redshift.pdf import LEVELS

SCHEMA_VERSION = 1
SCHEMA_VERSION_KEY = "photoz_mmae.schema_version"

Z_LEVELS_KEY = "photoz_mmae.z_quantile_levels"
Z_EDGES_KEY = "photoz_mmae.z_pdf_edges"


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, unit (VOUnits, None where there is none), UCD, description.

    The UCD is empty where nobody said one, of a column passed through (`predict --keep`).
    """

    name: str
    type: pa.DataType
    unit: str | None
    ucd: str
    description: str

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with unit, UCD and description as its metadata."""
        said = {"description": self.description, "ucd": self.ucd, "unit": self.unit}
        metadata = {key: text for key, text in said.items() if text}
        return pa.field(self.name, self.type, metadata=metadata)


class CatalogModel(Protocol):
    """What the catalogue's columns depend on in a model."""

    @property
    def bands(self) -> tuple[str, ...]: ...
    @property
    def dust(self) -> str: ...
    @property
    def z_edges(self) -> tuple[float, ...] | None: ...
    @property
    def wave(self) -> tuple[float, ...] | None: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


def catalogue_schema(
    model: CatalogModel,
    masks: int,
    pdf: str,
    aperture: float,
    ebv: bool,
    psf_fwhm_i: bool = False,
    redshift: Sequence[Column] | None = None,
) -> tuple[Column, ...]:
    """Return the columns of a catalogue made with this model and these options, in order.

    Parameters
    ----------
    model : CatalogModel
        Its bands, the edges of its p(z) in ln(1+z) or None, its wavelengths or None, its classes.
    masks : int
        Number of passes with a part of the image hidden; a spread needs two.
    pdf : str
        How much of p(z) is stored: `none`, `quantiles`, or `grid` (quantiles too).
    aperture : float
        Diameter of the aperture of the photometry, arcsec.
    ebv : bool
        Whether a table with E(B-V) was given.
    psf_fwhm_i : bool
        Whether a table with the width of the PSF in i was given.
    redshift : sequence of Column, optional
        What is made of p(z), instead of `Z_COLUMNS`.

    Notes
    -----
    `object_id` is given as a string here; it becomes int64 in a file whose ids are all canonical
    integers.
    """
    spread = masks > 1
    columns = [*_IDENTITY, *_photometry(model.bands, aperture)]
    if ebv:
        columns += [_EBV]
    if psf_fwhm_i:
        columns += [_PSF_FWHM_I]
    if model.z_edges is None:
        columns += [_Z_POINT]
    else:
        columns += Z_COLUMNS if redshift is None else redshift
        if pdf in ("quantiles", "grid"):
            columns += [_z_quantiles(len(LEVELS))]
        if pdf == "grid":
            columns += [_z_pdf(len(model.z_edges) - 1)]
    if spread:
        columns += [_Z_EPISTEMIC]
    columns += [_probability(name, model.classes) for name in model.classes]
    if model.wave is not None:
        columns += [column for column in _SPECTRUM if spread or not column.name.endswith("_err")]
    return (*columns, *_QUALITY)


def embedding_schema(size: int, ebv: bool) -> tuple[Column, ...]:
    """Return the columns of a table of embeddings (`embed`), in order.

    Parameters
    ----------
    size : int
        Numbers in an embedding.
    ebv : bool
        Whether a table with E(B-V) was given.
    """
    embedding = Column(
        "embedding",
        pa.list_(pa.float32(), size),
        None,
        "stat.param",
        "what the network's redshift head reads of the image; NaN where there is none",
    )
    return (*_IDENTITY, *([_EBV] if ebv else []), _FLAGS, embedding)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of these columns."""
    return pa.schema([column.field for column in columns])


def _float(name: str, unit: str | None, ucd: str, description: str) -> Column:
    return Column(name, pa.float32(), unit, ucd, description)


_IDENTITY = (
    Column(
        "object_id",
        pa.string(),
        None,
        "meta.id;meta.main",
        "identifier: of the file's header (OBJECT_ID, OBJECT), else the file name without suffix",
    ),
    Column("ra", pa.float64(), "deg", "pos.eq.ra;meta.main", "right ascension (ICRS)"),
    Column("dec", pa.float64(), "deg", "pos.eq.dec;meta.main", "declination (ICRS)"),
    Column("source", pa.string(), None, "meta.ref", "the file the cutout was read from"),
)

# The nearest words of the UCD vocabulary to the bands' wavelengths.
_BAND_UCD = {"u": "em.opt.U", "g": "em.opt.B", "r": "em.opt.R"}


def _photometry(bands: Sequence[str], aperture: float) -> list[Column]:
    where = f'in a circular aperture of {aperture:g}" diameter at the centre'
    columns = []
    for band in bands:
        ucd = f"phot.flux.density;{_BAND_UCD.get(band, 'em.opt.I')}"
        columns += [
            _float(f"flux_{band}", "nJy", ucd, f"flux in {band} {where}"),
            _float(
                f"flux_{band}_err",
                "nJy",
                f"stat.error;{ucd}",
                f"error of flux_{band}: from the pixels' variance where the file has one, else "
                "from the background's scatter",
            ),
        ]
    if "i" in bands:
        columns += [
            _float("mag_i", "mag", "phot.mag;em.opt.I", f"AB magnitude in i {where}"),
            _float("snr_i", None, "stat.snr;phot.flux.density;em.opt.I", "flux_i / flux_i_err"),
        ]
    return columns


_EBV = _float(
    "ebv",
    "mag",
    "phot.color.excess",
    "Galactic reddening E(B-V), from the table given as --catalog; fluxes here are not corrected",
)

_PSF_FWHM_I = _float(
    "psf_fwhm_i",
    "arcsec",
    "instr.det.psf;em.opt.I",
    "width of the point spread function in i (FWHM), from the table given as --catalog",
)

_Z = "src.redshift.phot"
_LOSS = "1 - 1/(1+(dz/0.15)^2), dz = (z_phot - z)/(1+z)"

_Z_POINT = _float("z_best", None, _Z, "photometric redshift: the model's point estimate")

Z_COLUMNS = (
    _float("z_best", None, _Z, f"photometric redshift of least expected loss {_LOSS}"),
    _float("z_mean", None, f"{_Z};stat.mean", "mean of p(z)"),
    _float("z_median", None, f"{_Z};stat.median", "median of p(z)"),
    _float("z_mode", None, f"{_Z};stat.max", "redshift where p(z), a density in z, is highest"),
    _float("z_mc", None, _Z, "one random draw from p(z), seeded by object_id"),
    _float("z_std", None, f"stat.stdev;{_Z}", "standard deviation of p(z) about z_mean"),
    _float("z_std_best", None, f"stat.stdev;{_Z}", "root mean square of z - z_best over p(z)"),
    _float("z_err68_min", None, f"stat.percentile;{_Z}", "16th percentile of p(z)"),
    _float("z_err68_max", None, f"stat.percentile;{_Z}", "84th percentile of p(z)"),
    _float("z_err95_min", None, f"stat.percentile;{_Z}", "2.5th percentile of p(z)"),
    _float("z_err95_max", None, f"stat.percentile;{_Z}", "97.5th percentile of p(z)"),
    _float("z_risk_best", None, f"stat.param;{_Z}", f"expected loss of z_best: {_LOSS}"),
    _float(
        "z_conf_best",
        None,
        f"stat.probability;{_Z}",
        "probability that z lies within 0.03 (1 + z_best) of z_best",
    ),
)
"""What is made of p(z): points, intervals, how far to trust them."""


def _z_quantiles(levels: int) -> Column:
    return Column(
        "z_quantiles",
        pa.list_(pa.float32(), levels),
        None,
        f"stat.percentile;{_Z}",
        f"quantiles of p(z) at the levels in the file's metadata, {Z_LEVELS_KEY}",
    )


def _z_pdf(bins: int) -> Column:
    return Column(
        "z_pdf",
        pa.list_(pa.float32(), bins),
        None,
        f"stat.probability;{_Z}",
        "probability in each bin of redshift, uniform in ln(1+z) inside a bin; the edges, in "
        f"ln(1+z), are in the file's metadata, {Z_EDGES_KEY}",
    )


_Z_EPISTEMIC = _float(
    "z_std_epistemic",
    None,
    f"stat.stdev;{_Z}",
    "standard deviation of the mean redshift over repeated passes that each hide a quarter of "
    "the image",
)

_OVER_PASSES = "standard deviation over repeated passes that each hide a quarter of the image"

_SPECTRUM = (
    _float(
        "spec_slope",
        None,
        "spect.index;spect.continuum",
        "slope of the reconstructed spectrum's continuum: beta in F_lambda ~ lambda^beta",
    ),
    _float(
        "spec_slope_err",
        None,
        "stat.error;spect.index;spect.continuum",
        f"error of spec_slope: {_OVER_PASSES}",
    ),
    _float(
        "spec_d4000",
        None,
        "spect.index;spect.continuum",
        "4000 Angstrom break of the reconstructed spectrum at z_best",
    ),
    _float(
        "spec_d4000_err",
        None,
        "stat.error;spect.index;spect.continuum",
        f"error of spec_d4000: {_OVER_PASSES}",
    ),
)


def _probability(name: str, classes: Sequence[str]) -> Column:
    others = ", ".join(classes)
    what = {"galaxy": "a galaxy", "qso": "a quasar", "star": "a star"}[name]
    return _float(
        f"prob_{name}",
        None,
        "stat.probability;src.class",
        f"probability that it is {what}, of what the model tells apart ({others})",
    )


_FLAGS = Column(
    "flags",
    pa.int32(),
    None,
    "meta.code.qual",
    f"what was wrong or uncertain, one bit each; cut on flags & {int(CLEAN_CUT)} = 0, not on "
    "flags = 0, which few rows have",
)

_QUALITY = (
    _FLAGS,
    Column(
        "bands_used",
        pa.uint8(),
        None,
        "meta.code;instr.bandpass",
        "bit k is set when the model's k-th band holds an image",
    ),
)
