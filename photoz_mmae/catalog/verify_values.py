"""Whether the values of a catalogue are such as every sound one has, row group by row group.

Each rule follows from how rows are made; a row that breaks one was not written by this program
as it is, or by one with a bug.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.schema import CatalogModel, Column
from photoz_mmae.catalog.verify_redshifts import class_rules, redshift_rules
from photoz_mmae.catalog.verify_rows import (
    ROUNDING,
    Bools,
    Rule,
    flagged,
    has,
    lists,
    numbers,
    own_columns,
)
from photoz_mmae.cutouts.photometry import LOW_SNR
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.surveys import AB_OF_1_NJY

_ALL_FLAGS = int(sum(Flag))
_LIMITS = {
    "ra": (0.0, 360.0),
    "dec": (-90.0, 90.0),
    "ebv": (0.0, 5.0),
    "psf_fwhm_i": (0.0, 10.0),
    "z_std_epistemic": (0.0, np.inf),
    "spec_slope_err": (0.0, np.inf),
    "spec_d4000_err": (0.0, np.inf),
}


@dataclass
class Breach:
    """A rule that some rows break: how many, and the first of them."""

    rows: int
    first: int
    object_id: str


class ValueCheck:
    """Gathers which rules the rows of a table break.

    Parameters
    ----------
    columns : sequence of Column
        The catalogue's own, as they are in part files.
    naming : Naming
        What they are called in it.
    model : CatalogModel
    lengths : mapping of str to int
        What the file says of the longest text of each column.

    Attributes
    ----------
    breaches : dict of str to Breach
    """

    def __init__(
        self,
        columns: Sequence[Column],
        naming: Naming,
        model: CatalogModel,
        lengths: Mapping[str, int],
    ) -> None:
        self.breaches: dict[str, Breach] = {}
        self._columns = columns
        self._naming = naming
        self._model = model
        self._lengths = lengths
        self._hashes: list[NDArray[np.int64]] = []
        self._repeats: list[Bools] = []
        self._gone: list[Bools] = []

    def look_at(self, table: pa.Table, start: int) -> None:
        """Look at rows of the catalogue, of which the first is number `start`."""
        own = own_columns(table, self._columns)
        ids = own["object_id"]
        for says, wrong in self._broken(table, own):
            self._note(says, wrong, start, lambda row: ids[row].as_py())
        if pa.types.is_string(ids.type):
            # A million texts would take more memory than all the rest.
            self._hashes.append(np.array([hash(text) for text in ids.to_pylist()], np.int64))
        else:
            self._hashes.append(ids.to_numpy())
        self._repeats.append(flagged(own, Flag.DUPLICATE_ID))
        self._gone.append(flagged(own, Flag.SOURCE_GONE))

    def finish(self) -> None:
        """Compare what can be said of all rows only."""
        hashes = np.concatenate([np.empty(0, np.int64), *self._hashes])
        there = ~np.concatenate([np.empty(0, bool), *self._gone])
        _, inverse, counts = np.unique(hashes[there], return_inverse=True, return_counts=True)
        shared = np.zeros(len(hashes), bool)
        shared[there] = counts[inverse] > 1
        wrong = shared != np.concatenate([np.empty(0, bool), *self._repeats])
        self._note("DUPLICATE_ID on other rows than those that share their id", wrong, 0, str)

    def _note(self, says: str, wrong: Bools, start: int, id_of: Any) -> None:
        number = int(wrong.sum())
        if not number:
            return
        if says in self.breaches:
            self.breaches[says].rows += number
            return
        first = int(np.argmax(wrong))
        self.breaches[says] = Breach(number, start + first, str(id_of(first)))

    def _broken(self, table: pa.Table, own: pa.Table) -> Iterator[Rule]:
        naming, model = self._naming, self._model
        yield from _columns_alone(table, self._columns, naming)
        for name, length in self._lengths.items():
            longer = pc.fill_null(pc.greater(pc.utf8_length(table[name]), length), False)
            yield f"{name} is longer than the file says", np.asarray(longer)
        yield from _common(own, naming)
        yield from _dust(own, model)
        if "embedding" in own.column_names:
            yield from _embedding(own)
            return
        yield from _photometry(own, model.bands)
        yield from redshift_rules(own, model, naming)
        yield from class_rules(own, model, naming)


def _columns_alone(table: pa.Table, columns: Sequence[Column], naming: Naming) -> Iterator[Rule]:
    for column in columns:
        name = naming.name(column.name)
        if pa.types.is_floating(column.type):
            values = numbers(table, name)
            yield f"{name} is NaN instead of null", np.isnan(values) & has(table, name)
            if not name.startswith("spec_"):
                yield f"{name} is infinite", np.isinf(values)
            if column.name in _LIMITS:
                low, high = _LIMITS[column.name]
                yield f"{name} is outside {low:g} to {high:g}", (values < low) | (values > high)
        else:
            yield f"{name} is null", ~has(table, name)


def _common(table: pa.Table, naming: Naming) -> Iterator[Rule]:
    ra, dec = naming.name("ra"), naming.name("dec")
    yield f"{ra} without {dec}, or {dec} without {ra}", has(table, "ra") != has(table, "dec")
    bits = table["flags"].to_numpy()
    yield "flags has bits that mean nothing", (bits & ~_ALL_FLAGS) != 0


def _dust(table: pa.Table, model: CatalogModel) -> Iterator[Rule]:
    known = has(table, "ebv") if "ebv" in table.column_names else np.zeros(len(table), bool)
    wanted = ~known & (model.dust != "none")
    yield "NO_EBV does not agree with ebv", flagged(table, Flag.NO_EBV) != wanted


def _embedding(table: pa.Table) -> Iterator[Rule]:
    there = np.isfinite(lists(table, "embedding"))
    no = flagged(table, NO_REDSHIFT)
    yield "an embedding that is there in part", there.any(axis=1) != there.all(axis=1)
    yield "embedding and the flags of rows without one do not agree", there.all(axis=1) == no


def _photometry(table: pa.Table, bands: Sequence[str]) -> Iterator[Rule]:
    bits = table["bands_used"].to_numpy()
    yield "bands_used has bits of no band", bits >= 1 << len(bands)
    for band in bands:
        error = numbers(table, f"flux_{band}_err")
        yield f"flux_{band}_err is not above 0", error <= 0
    if "i" not in bands:
        return
    flux, error = (table[name].to_numpy() for name in ("flux_i", "flux_i_err"))
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(flux > 0, AB_OF_1_NJY - 2.5 * np.log10(flux), np.nan)
        ratio = np.where(error > 0, flux / error, np.nan)
    yield "mag_i is not that of flux_i", ~_close(numbers(table, "mag_i"), magnitude)
    yield "snr_i is not flux_i / flux_i_err", ~_close(numbers(table, "snr_i"), ratio)
    # In float32, as it was set.
    yield (
        "LOW_SNR does not agree with snr_i",
        flagged(table, Flag.LOW_SNR) != (flux < LOW_SNR * error),
    )


def _close(left: NDArray[np.float64], right: NDArray[np.floating]) -> Bools:
    return np.asarray(np.isclose(left, right, rtol=ROUNDING, atol=ROUNDING, equal_nan=True))
