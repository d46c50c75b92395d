"""From what was read and predicted to the catalogue's rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.catalog.naming import STANDARD, Naming
from photoz_mmae.catalog.schema import CatalogModel, Column, arrow_schema
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.inference.engine import Prediction
from photoz_mmae.redshift.pdf import pdf_flags, summarise
from photoz_mmae.spectra.summary import summarise_spectrum
from photoz_mmae.surveys import AB_OF_1_NJY


def catalogue_rows(
    batch: CutoutBatch,
    prediction: Prediction,
    model: CatalogModel,
    columns: Sequence[Column],
    ebv: NDArray[np.float32],
    psf_fwhm: NDArray[np.float32],
    naming: Naming = STANDARD,
) -> pa.Table:
    """Make the rows of a batch of N objects, in its order; none is left out.

    Parameters
    ----------
    batch : CutoutBatch
    prediction : Prediction
        Of the same objects. What it says of objects with a NO_REDSHIFT flag is not used.
    model : CatalogModel
    columns : sequence of Column
        What the catalogue holds; ids as strings.
    ebv : array, (N,)
        E(B-V), mag; NaN where missing.
    psf_fwhm : array, (N, B)
        Width of the PSF, arcsec; NaN where missing.
    naming : Naming
        What is made of p(z).
    """
    bad = (batch.flags & int(NO_REDSHIFT)) != 0
    # No model is calibrated yet.
    flags = _flags(batch, model, ebv)
    flags |= np.where(bad, 0, int(Flag.UNCALIBRATED)).astype(np.int32)
    values: dict[str, Any] = {
        **_identity(batch),
        "bands_used": batch.bands_used,
        **_photometry(batch, model.bands),
        "ebv": ebv,
    }
    if "i" in model.bands:
        values["psf_fwhm_i"] = psf_fwhm[:, model.bands.index("i")]
    if prediction.mass is not None and model.z_edges is not None:
        mass = np.where(bad[:, None], np.nan, prediction.mass)
        edges = np.asarray(model.z_edges)
        points = summarise(mass, edges, batch.object_id)
        flags |= pdf_flags(mass, edges, points)
        values |= {**points, **naming.values(mass, edges, points), "z_pdf": mass}
    elif prediction.z_point is not None:
        values["z_best"] = np.where(bad, np.nan, prediction.z_point)
    if prediction.z_masked is not None:
        values["z_std_epistemic"] = np.where(bad, np.nan, _spread(prediction.z_masked))
    if prediction.class_mass is not None:
        for name, mass in zip(model.classes, prediction.class_mass.T, strict=True):
            values[f"prob_{name}"] = np.where(bad, np.nan, mass)
    if prediction.spectrum is not None and model.wave is not None:
        values |= _spectrum(prediction, np.asarray(model.wave), values["z_best"])
    values["flags"] = flags
    return _table(values, columns)


def embedding_rows(
    batch: CutoutBatch,
    embedding: NDArray[np.float32],
    model: CatalogModel,
    columns: Sequence[Column],
    ebv: NDArray[np.float32],
) -> pa.Table:
    """Make the rows of a table of embeddings, as `catalogue_rows`; `embedding` is (N, D)."""
    bad = (batch.flags & int(NO_REDSHIFT)) != 0
    values = {
        **_identity(batch),
        "ebv": ebv,
        "flags": _flags(batch, model, ebv),
        "embedding": np.where(bad[:, None], np.nan, embedding),
    }
    return _table(values, columns)


def _flags(batch: CutoutBatch, model: CatalogModel, ebv: NDArray[np.float32]) -> NDArray[np.int32]:
    """Give what is wrong with the image, and whether E(B-V) is wanted and missing."""
    missing = np.isnan(ebv) & (model.dust != "none")
    return batch.flags | np.where(missing, int(Flag.NO_EBV), 0).astype(np.int32)


def _identity(batch: CutoutBatch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in ("object_id", "ra", "dec", "source")}


def _table(values: Mapping[str, Any], columns: Sequence[Column]) -> pa.Table:
    schema = arrow_schema(columns)
    return pa.table([_arrow(values[c.name], c.type) for c in columns], schema=schema)


def _photometry(batch: CutoutBatch, bands: Sequence[str]) -> dict[str, NDArray[np.floating]]:
    values: dict[str, NDArray[np.floating]] = {}
    for k, band in enumerate(bands):
        values[f"flux_{band}"] = batch.flux[:, k]
        values[f"flux_{band}_err"] = batch.flux_err[:, k]
    if "i" in bands:
        flux, error = values["flux_i"], values["flux_i_err"]
        with np.errstate(divide="ignore", invalid="ignore"):
            values["mag_i"] = np.where(flux > 0, AB_OF_1_NJY - 2.5 * np.log10(flux), np.nan)
            values["snr_i"] = np.where(error > 0, flux / error, np.nan)
    return values


def _spectrum(
    prediction: Prediction, wave: NDArray[np.float64], z_best: NDArray[np.floating]
) -> dict[str, NDArray[np.floating]]:
    assert prediction.spectrum is not None
    bad = np.isnan(z_best)
    z = np.where(bad, 0.0, z_best)
    values: dict[str, NDArray[np.floating]] = dict(summarise_spectrum(prediction.spectrum, wave, z))
    if prediction.spectrum_masked is not None:
        passes = prediction.spectrum_masked.shape[1]
        summaries = [
            summarise_spectrum(prediction.spectrum_masked[:, m], wave, z) for m in range(passes)
        ]
        for name in list(values):
            values[f"{name}_err"] = _spread(np.stack([each[name] for each in summaries], axis=1))
    return {name: np.where(bad, np.nan, column) for name, column in values.items()}


def _spread(passes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sample standard deviation over M passes, (N, M) -> (N,); NaN for one pass."""
    if passes.shape[1] < 2:
        return np.full(len(passes), np.nan)
    return np.asarray(np.std(passes, axis=1, ddof=1, dtype=np.float64))


def _arrow(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        # NaN, not null, in lists: no reader of VOParquet knows a null row there.
        flat = pa.array(np.asarray(values, dtype=np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    # NaN becomes null: "not measured".
    return pa.array(values, type=kind, from_pandas=pa.types.is_floating(kind))
