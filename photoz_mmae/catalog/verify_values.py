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

from photoz_mmae.catalog.schema import CatalogModel, Column
from photoz_mmae.cutouts.photometry import LOW_SNR
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.redshift.pdf import LEVELS, WIDE
from photoz_mmae.surveys import AB_OF_1_NJY

Bools = NDArray[np.bool_]
Rule = tuple[str, Any]
"""What is wrong, and with which rows, (N,)."""

_ALL_FLAGS = int(sum(Flag))
_ROUNDING = 1e-5
"""Relative: of float32, with some room."""

_POINTS = ("z_best", "z_mean", "z_median", "z_mode", "z_mc")
_INTERVALS = ("z_err95_min", "z_err68_min", "z_median", "z_err68_max", "z_err95_max")
_INTERVAL_LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
_OTHERS = ("z_std", "z_std_best", "z_risk_best", "z_conf_best")
_LIMITS = {
    "ra": (0.0, 360.0),
    "dec": (-90.0, 90.0),
    "ebv": (0.0, 5.0),
    "psf_fwhm_i": (0.0, 10.0),
    "z_std": (0.0, np.inf),
    "z_std_best": (0.0, np.inf),
    "z_std_epistemic": (0.0, np.inf),
    "z_risk_best": (0.0, 1.0),
    "z_conf_best": (0.0, 1.0),
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
        The catalogue's own.
    model : CatalogModel
    lengths : mapping of str to int
        What the file says of the longest text of each column.

    Attributes
    ----------
    breaches : dict of str to Breach
    """

    def __init__(
        self, columns: Sequence[Column], model: CatalogModel, lengths: Mapping[str, int]
    ) -> None:
        self.breaches: dict[str, Breach] = {}
        self._columns = columns
        self._model = model
        self._lengths = lengths
        self._hashes: list[NDArray[np.int64]] = []
        self._repeats: list[Bools] = []

    def look_at(self, table: pa.Table, start: int) -> None:
        """Look at rows of which the first is number `start` of the file."""
        for says, wrong in self._broken(table):
            self._note(says, wrong, start, lambda row: table["object_id"][row].as_py())
        ids = table["object_id"]
        if pa.types.is_string(ids.type):
            # A million texts would take more memory than all the rest.
            self._hashes.append(np.array([hash(text) for text in ids.to_pylist()], np.int64))
        else:
            self._hashes.append(ids.to_numpy())
        self._repeats.append(_flagged(without_nulls(table), Flag.DUPLICATE_ID))

    def finish(self) -> None:
        """Compare what can be said of all rows only."""
        hashes = np.concatenate([np.empty(0, np.int64), *self._hashes])
        _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        wrong = (counts[inverse] > 1) != np.concatenate([np.empty(0, bool), *self._repeats])
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

    def _broken(self, table: pa.Table) -> Iterator[Rule]:
        yield from _columns_alone(table, self._columns, self._lengths)
        table = without_nulls(table)
        yield from _common(table)
        yield from _dust(table, self._model)
        if "embedding" in table.column_names:
            yield from _embedding(table)
            return
        yield from _photometry(table, self._model.bands)
        yield from _redshifts(table, self._model)
        yield from _classes(table, self._model)


def without_nulls(table: pa.Table) -> pa.Table:
    """Put 0 for null in columns of bits: they are never null, but those that are looked through."""
    for name in ("flags", "bands_used"):
        if name in table.column_names and table[name].null_count:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pc.fill_null(table[name], 0))
    return table


def _columns_alone(
    table: pa.Table, columns: Sequence[Column], lengths: Mapping[str, int]
) -> Iterator[Rule]:
    for column in columns:
        name, values = column.name, table[column.name]
        if pa.types.is_floating(column.type):
            numbers = _numbers(table, name)
            nulls = np.asarray(values.is_null())
            yield f"{name} is NaN instead of null", np.isnan(numbers) & ~nulls
            if not name.startswith("spec_"):
                yield f"{name} is infinite", np.isinf(numbers)
            low, high = _LIMITS.get(name, (-np.inf, np.inf))
            room = _ROUNDING if high == 1 else 0.0
            yield (
                f"{name} is outside {low:g} to {high:g}",
                (numbers < low) | (numbers > high + room),
            )
        else:
            yield f"{name} is null", np.asarray(values.is_null())
    for name, length in lengths.items():
        longer = pc.fill_null(pc.greater(pc.utf8_length(table[name]), length), False)
        yield f"{name} is longer than the file says", np.asarray(longer)


def _common(table: pa.Table) -> Iterator[Rule]:
    yield "ra without dec, or dec without ra", _has(table, "ra") != _has(table, "dec")
    bits = table["flags"].to_numpy()
    yield "flags has bits that mean nothing", (bits & ~_ALL_FLAGS) != 0


def _dust(table: pa.Table, model: CatalogModel) -> Iterator[Rule]:
    known = _has(table, "ebv") if "ebv" in table.column_names else np.zeros(len(table), bool)
    wanted = ~known & (model.dust != "none")
    yield "NO_EBV does not agree with ebv", _flagged(table, Flag.NO_EBV) != wanted


def _embedding(table: pa.Table) -> Iterator[Rule]:
    there = np.isfinite(_lists(table, "embedding"))
    no = _flagged(table, NO_REDSHIFT)
    yield "an embedding that is there in part", there.any(axis=1) != there.all(axis=1)
    yield "embedding and the flags of rows without one do not agree", there.all(axis=1) == no


def _photometry(table: pa.Table, bands: Sequence[str]) -> Iterator[Rule]:
    bits = table["bands_used"].to_numpy()
    yield "bands_used has bits of no band", bits >= 1 << len(bands)
    for band in bands:
        error = _numbers(table, f"flux_{band}_err")
        yield f"flux_{band}_err is not above 0", error <= 0
    if "i" not in bands:
        return
    flux, error = (table[name].to_numpy() for name in ("flux_i", "flux_i_err"))
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(flux > 0, AB_OF_1_NJY - 2.5 * np.log10(flux), np.nan)
        ratio = np.where(error > 0, flux / error, np.nan)
    yield "mag_i is not that of flux_i", ~_close(_numbers(table, "mag_i"), magnitude)
    yield "snr_i is not flux_i / flux_i_err", ~_close(_numbers(table, "snr_i"), ratio)
    # In float32, as it was set.
    yield (
        "LOW_SNR does not agree with snr_i",
        _flagged(table, Flag.LOW_SNR) != (flux < LOW_SNR * error),
    )


def _redshifts(table: pa.Table, model: CatalogModel) -> Iterator[Rule]:
    has_z, no = _has(table, "z_best"), _flagged(table, NO_REDSHIFT)
    yield "z_best and the flags of rows without redshift do not agree", has_z == no
    yield (
        "UNCALIBRATED on other rows than those with redshift",
        (_flagged(table, Flag.UNCALIBRATED) == no),
    )
    for name in ("z_std_epistemic", "spec_slope", "spec_slope_err", "spec_d4000", "spec_d4000_err"):
        if name in table.column_names:
            yield f"{name} of a row without redshift", _has(table, name) & ~has_z
    if model.z_edges is None:
        odd = Flag.Z_AT_EDGE | Flag.MULTI_PEAK | Flag.WIDE_PDF
        yield "flags of p(z) where there is none", _flagged(table, odd)
        return
    edges = np.asarray(model.z_edges)
    low, high = np.expm1(edges[0]), np.expm1(edges[-1])
    names = dict.fromkeys((*_POINTS, *_INTERVALS))
    for name in (*names, *_OTHERS):
        yield f"{name} and z_best are not null together", _has(table, name) != has_z
    for name in names:
        outside = _outside(_numbers(table, name), low, high)
        yield f"{name} is outside the model's range, {low:.4g} to {high:.4g}", outside
    ordered = np.stack([_numbers(table, name) for name in _INTERVALS], axis=1)
    for k, name in enumerate(_INTERVALS[1:], 1):
        yield f"{_INTERVALS[k - 1]} is above {name}", ordered[:, k - 1] > ordered[:, k]
    yield "z_std_best is below z_std", _numbers(table, "z_std_best") < _numbers(table, "z_std")
    yield from _quantiles(table, has_z, ordered, low, high)
    if "z_pdf" in table.column_names:
        mass = _lists(table, "z_pdf")
        yield "z_pdf and z_best are not there together", np.isfinite(mass).all(axis=1) != has_z
        yield "z_pdf is negative", (mass < 0).any(axis=1)
        yield "z_pdf does not sum to 1", np.abs(mass.sum(axis=1) - 1) > _ROUNDING
    z, width = table["z_best"].to_numpy(), ordered[:, 3] - ordered[:, 1]
    limit = WIDE * (1 + z)
    yield (
        "WIDE_PDF does not agree with z_err68",
        ((_flagged(table, Flag.WIDE_PDF) != (width > limit)) & (np.abs(width - limit) > _ROUNDING)),
    )
    u = np.log1p(z.astype(np.float64))
    yield (
        "Z_AT_EDGE does not agree with z_best",
        _flagged(table, Flag.Z_AT_EDGE) != ((u <= edges[1]) | (u >= edges[-2])),
    )


def _quantiles(
    table: pa.Table, has_z: Bools, ordered: NDArray[np.float64], low: float, high: float
) -> Iterator[Rule]:
    if "z_quantiles" not in table.column_names:
        return
    values = _lists(table, "z_quantiles")
    yield (
        "z_quantiles and z_best are not there together",
        (np.isfinite(values).all(axis=1) != has_z) | (np.isfinite(values).any(axis=1) != has_z),
    )
    yield "z_quantiles decrease", (np.diff(values, axis=1) < 0).any(axis=1)
    yield "z_quantiles leave the model's range", _outside(values, low, high).any(axis=1)
    same = values[:, [LEVELS.index(level) for level in _INTERVAL_LEVELS]] == ordered
    yield "z_quantiles and z_median, z_err68 or z_err95 differ", has_z & ~same.all(axis=1)


def _classes(table: pa.Table, model: CatalogModel) -> Iterator[Rule]:
    if not model.classes:
        return
    has_z = _has(table, "z_best")
    shares = np.stack([_numbers(table, f"prob_{name}") for name in model.classes], axis=1)
    there = np.isfinite(shares)
    yield "prob_... and z_best are not null together", (there != has_z[:, None]).any(axis=1)
    yield "prob_... is outside 0 to 1", ((shares < 0) | (shares > 1 + _ROUNDING)).any(axis=1)
    yield "prob_... do not sum to 1", np.abs(shares.sum(axis=1) - 1) > _ROUNDING


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Values of a column, null as NaN, (N,)."""
    return np.asarray(table[name].to_numpy(), np.float64)


def _lists(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Values of a column of lists, (N, K)."""
    column = table[name].combine_chunks()
    values = np.full((len(table), column.type.list_size), np.nan)
    flat = column.flatten().to_numpy(zero_copy_only=False)  # without those of null rows
    values[np.asarray(column.is_valid())] = flat.reshape(-1, column.type.list_size)
    return values


def _has(table: pa.Table, name: str) -> Bools:
    return np.asarray(table[name].is_valid())


def _flagged(table: pa.Table, flag: Flag) -> Bools:
    return np.asarray((table["flags"].to_numpy() & int(flag)) != 0)


def _outside(values: NDArray[np.float64], low: float, high: float) -> Bools:
    room = _ROUNDING * (1 + high)
    return np.asarray((values < low - room) | (values > high + room))


def _close(left: NDArray[np.float64], right: NDArray[np.floating]) -> Bools:
    return np.asarray(np.isclose(left, right, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True))
