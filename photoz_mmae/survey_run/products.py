"""What a run writes for each object: redshifts (`predict`) or embeddings (`embed`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photoz_mmae.catalog.naming import NAMINGS, STANDARD, Naming
from photoz_mmae.catalog.schema import (
    Z_EDGES_KEY,
    Z_LEVELS_KEY,
    Column,
    catalogue_schema,
    embedding_schema,
)
from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER
from photoz_mmae.errors import UsageError
from photoz_mmae.inference.engine import Engine
from photoz_mmae.model.info import ModelInfo
from photoz_mmae.redshift.pdf import LEVELS
from photoz_mmae.survey_run.rows import catalogue_rows, embedding_rows
from photoz_mmae.survey_runs import PredictRun, SurveyRun

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Redshifts:
    """A catalogue of redshifts.

    Attributes
    ----------
    masks : int
        Passes with a quarter of the image hidden.
    pdf : str
        How much of p(z) is stored.
    names : str
        Whose names the columns have.
    """

    masks: int
    pdf: str
    names: str = "standard"
    thing: str = "redshift"
    title: str = "Photometric redshifts"

    @property
    def settings(self) -> dict[str, Any]:
        """What of it decides the values."""
        naming = {} if self.naming is STANDARD else {"naming": self.names}
        return {"masks": self.masks, "pdf": self.pdf, **naming}

    @property
    def naming(self) -> Naming:
        """Names of columns, and what stands behind them."""
        return NAMINGS[self.names]

    def check(self, model: ModelInfo) -> None:
        """Raise UsageError when the model has no p(z) to make these columns of."""
        if model.z_edges is None and self.naming is not STANDARD:
            raise UsageError(
                f"--naming {self.names}: the model {model.name} gives a redshift and no p(z) to "
                "make these columns of; leave --naming out"
            )

    def columns(self, model: ModelInfo, ebv: bool, psf_fwhm_i: bool) -> tuple[Column, ...]:
        """Return its columns, by whether a table with E(B-V) and with seeing was given."""
        redshift = self.naming.columns
        return catalogue_schema(
            model, self.masks, self.pdf, APERTURE_DIAMETER, ebv, psf_fwhm_i, redshift
        )

    def rows(
        self,
        engine: Engine,
        batch: CutoutBatch,
        columns: Sequence[Column],
        ebv: Floats,
        psf_fwhm: Floats,
    ) -> pa.Table:
        """Ask the network, and make the rows of the batch; (N,) mag, (N, B) arcsec."""
        prediction = engine.predict(batch.images, ebv, batch.missing, psf_fwhm)
        info = engine.model.info
        return catalogue_rows(batch, prediction, info, columns, ebv, psf_fwhm, self.naming)

    def lacking(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows have no redshift, (N,)."""
        return np.asarray(rows[self.naming.point].is_null())

    def metadata(self, model: ModelInfo) -> dict[str, str]:
        """Return what the file says of its p(z)."""
        said = {"photoz_mmae.calibration": "none"}
        if model.z_edges is not None and self.pdf in ("quantiles", "grid"):
            said[Z_LEVELS_KEY] = json.dumps(LEVELS)
        if model.z_edges is not None and self.pdf == "grid":
            said[Z_EDGES_KEY] = json.dumps(model.z_edges)
        return said


@dataclass(frozen=True)
class Embeddings:
    """A table of what the network's redshift head reads of each image."""

    masks: int = 0
    thing: str = "embedding"
    title: str = "Embeddings of galaxy images"

    @property
    def settings(self) -> dict[str, Any]:
        """What tells its runs from those of `predict`."""
        return {"content": "embeddings"}

    @property
    def naming(self) -> Naming:
        """Names of columns."""
        return STANDARD

    def check(self, model: ModelInfo) -> None:
        """Every model has embeddings."""

    def columns(self, model: ModelInfo, ebv: bool, psf_fwhm_i: bool) -> tuple[Column, ...]:
        """Return its columns; `ebv`: whether a table with E(B-V) was given."""
        return embedding_schema(model.network.embedding_size, ebv)

    def rows(
        self,
        engine: Engine,
        batch: CutoutBatch,
        columns: Sequence[Column],
        ebv: Floats,
        psf_fwhm: Floats,
    ) -> pa.Table:
        """Ask the network, and make the rows of the batch; (N,) mag, (N, B) arcsec."""
        embedding = engine.embed(batch.images, ebv, batch.missing, psf_fwhm)
        return embedding_rows(batch, embedding, engine.model.info, columns, ebv)

    def lacking(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows have no embedding, (N,)."""
        size = rows.schema.field("embedding").type.list_size
        values = rows["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(~np.isfinite(values).reshape(-1, size).all(axis=1))

    def metadata(self, model: ModelInfo) -> dict[str, str]:
        """Return what the file says of its embeddings."""
        return {"photoz_mmae.content": "embeddings"}


Product = Redshifts | Embeddings


def product_of(run: SurveyRun) -> Product:
    """Say what a run writes."""
    if isinstance(run, PredictRun):
        return Redshifts(run.masks, run.pdf, run.naming)
    return Embeddings()


def product_of_settings(settings: Mapping[str, Any]) -> Product:
    """Say what a run wrote, by the settings that it noted; raises KeyError where they lack."""
    if settings.get("content") == Embeddings().settings["content"]:
        return Embeddings()
    return Redshifts(settings["masks"], settings["pdf"], settings.get("naming", "standard"))


def columns_of_settings(settings: Mapping[str, Any], model: ModelInfo) -> tuple[Column, ...]:
    """Return the columns that a run with these settings writes, but for those of `--keep`."""
    table = settings.get("catalog", "")  # as survey.py notes it
    psf_bands = table.partition("psf_fwhm of ")[2]
    return product_of_settings(settings).columns(model, table.startswith("ebv"), "i" in psf_bands)
