"""Objects without redshift and spectrum, to train on their images: cutouts as `predict` takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from photoz_mmae.cutouts.batch import CutoutBatch, Wanted
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.cutouts.ids import printable
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER
from photoz_mmae.cutouts.read import read_batch
from photoz_mmae.errors import InputError
from photoz_mmae.flags import DESCRIPTIONS, NO_REDSHIFT, Flag
from photoz_mmae.model.dust import usable_ebv
from photoz_mmae.model.frame import Frame
from photoz_mmae.model.seeing import usable_fwhm
from photoz_mmae.provenance import file_sha256, fingerprint
from photoz_mmae.spectra import grid
from photoz_mmae.survey_runs import PSF_ROLES
from photoz_mmae.surveys import ZERO_POINT
from photoz_mmae.tables import TableFile
from photoz_mmae.training_sets import split
from photoz_mmae.training_sets.batch import make_batch
from photoz_mmae.training_sets.hygiene import first_of_each, without_id
from photoz_mmae.training_sets.training_set import (
    UNKNOWN_KIND,
    Normalisation,
    TrainingBatch,
    counted,
)

_UNUSABLE = int(NO_REDSHIFT | Flag.OTHER_PIXEL_SCALE | Flag.PADDED)
"""Nothing to learn from, or another sky than the network is to rebuild."""

_ROWS = 256  # looked at at a time: 21 MB of images


@dataclass(frozen=True)
class Chosen:
    """Which of the cutouts are trained on.

    Attributes
    ----------
    numbers : array, (K,)
    dropped : dict of str to int
        Why the others are not, in words, and how many.
    notes : list of str
    """

    numbers: NDArray[np.int64]
    dropped: dict[str, int]
    notes: list[str]


class Unlabelled:
    """Cutouts, found but not yet looked at.

    Parameters
    ----------
    path : Path
        Folder of FITS cutouts or shards, or one such file or HDF5 file.
    frame : Frame
        What their images are to be.
    catalog : Path, optional
        Table with `object_id`, and `ebv` or `psf_fwhm_<b>` or both.
    every_band : bool
        Whether an object that lacks a band is of no use.

    Raises
    ------
    InputError
        There are none, or the table is not what it should be.
    """

    def __init__(
        self,
        path: Path,
        frame: Frame,
        catalog: Path | None = None,
        every_band: bool = True,
    ) -> None:
        self.path = path
        self._sources = discover([str(path)]).sources
        self._wanted = Wanted(
            frame.bands, frame.image_size, frame.pixel_scale, every_band=every_band
        )
        self._catalog = catalog
        self._ebv = np.full(len(self), np.nan, np.float32)
        self._psf_fwhm = np.full((len(self), len(frame.bands)), np.nan, np.float32)
        if catalog is not None:
            table = TableFile(catalog)
            self._ids = table.ids
            self._told_fwhm = {
                number: usable_fwhm(table.numbers(PSF_ROLES[band]))
                for number, band in enumerate(frame.bands)
                if PSF_ROLES[band] in table.names
            }
            self._told_ebv = None
            if "ebv" in table.names or not self._told_fwhm:
                self._told_ebv = usable_ebv(table.numbers("ebv"))

    def __len__(self) -> int:
        return len(self._sources)

    def sha256(self) -> str:
        """Checksum of the files' names, sizes and times, and of the table."""
        lines = (
            f"{source.files}{source.size} {source.mtime_ns}{source.identity}"
            for source in self._sources
        )
        table = [] if self._catalog is None else [file_sha256(self._catalog)]
        return fingerprint([*table, *lines])

    def choose(
        self,
        labelled: NDArray[Any] | None,
        held_out: NDArray[np.float64] | None,
        radius: float,
        needs_ebv: bool,
    ) -> Chosen:
        """Look at every image, and leave out what must not be trained on.

        Parameters
        ----------
        labelled : array, (M,), or None
            Ids of the training file's objects, which are not wanted again.
        held_out : array, (H, 2), or None
            Right ascension and declination, deg, of objects of validation and test.
        radius : float
            Arcsec; nothing is trained on so near to one of those.
        needs_ebv : bool
            Whether it is to be said how many have no E(B-V).

        Raises
        ------
        InputError
            None is left, or the table has none of them.
        """
        bands, flags, ids, positions = self._look()
        usable = bands > 0
        dropped = {"unlabelled with a bad image": int((~usable).sum())}
        keep = usable.copy()
        rows = np.flatnonzero(usable)
        keep[rows] = first_of_each(_as_bytes(ids[rows]), bands[rows])
        if labelled is not None:
            known = _texts(labelled)
            keep &= ~np.isin(ids, known[~without_id(_as_bytes(known))])
        dropped["unlabelled and repeated"] = int(usable.sum() - keep.sum())
        notes = []
        if held_out is None:
            notes.append(
                "the file has no positions: whether unlabelled objects are on a stamp of "
                "validation or test is not known"
            )
        else:
            placed = np.flatnonzero(keep & np.isfinite(positions).all(axis=1))
            on_stamp = _near(positions[placed], held_out, radius)
            keep[placed[on_stamp]] = False
            dropped["unlabelled on a stamp of validation or test"] = int(on_stamp.sum())
            unknown = int(keep.sum()) - int((~on_stamp).sum())
            if unknown:
                notes.append(
                    f"{counted(unknown, 'unlabelled object')} without position: not compared with "
                    "validation and test"
                )
        numbers = np.flatnonzero(keep)
        if not len(numbers):
            why = ", ".join(f"{n:,} {words}" for words, n in dropped.items() if n)
            raise InputError(f"{self.path}: no unlabelled object is left ({why})")
        unknown = int(np.isnan(self._ebv[numbers]).sum())
        if needs_ebv and unknown:
            total = counted(len(numbers), "unlabelled object")
            notes.append(f"{unknown:,} of {total} have no usable E(B-V)")
        unstated = int((flags[numbers] & Flag.NO_ZERO_POINT != 0).sum())
        if unstated:
            notes.append(
                f"{counted(unstated, 'unlabelled object')} without zero point: pixels are taken to "
                f"be at {ZERO_POINT:g}"
            )
        return Chosen(numbers, dropped, notes)

    def read(self, numbers: NDArray[np.int64], normalisation: Normalisation) -> TrainingBatch:
        """Read some of the chosen, in the order asked for; raises InputError for one that is gone.

        Parameters
        ----------
        numbers : array, (N,)
        normalisation : {"paper", "relative"}
        """
        # Neighbours in a file are read together.
        order = np.argsort(numbers)
        batch = self._read(numbers[order])
        bad = np.flatnonzero(batch.flags & _UNUSABLE)
        if len(bad):
            raise InputError(
                f"{batch.source[bad[0]]}: was good when training began and is not any more "
                f"({batch.reason[bad[0]] or 'changed'})"
            )
        n = len(numbers)
        batch.images[batch.missing] = np.nan
        nothing = np.zeros((n, grid.POOLED_PIXELS))
        return make_batch(
            batch.images[np.argsort(order)],
            nothing,
            nothing,
            np.full(n, np.nan),
            np.ones(n),
            self._ebv[numbers],
            self._psf_fwhm[numbers],
            np.full(n, UNKNOWN_KIND),
            normalisation,
        )

    def _look(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_], NDArray[np.float64]]:
        """Bands of each, 0 of one that is no good (N,), flags, ids (N,), positions (N, 2)."""
        n = len(self)
        bands, flags = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        positions = np.full((n, 2), np.nan)
        ids: list[str] = []
        reason = ""
        batch = None
        for start in range(0, n, _ROWS):
            rows = np.arange(start, min(start + _ROWS, n))
            batch = self._read(rows, batch)
            ids += batch.object_id
            flags[rows] = batch.flags
            positions[rows] = np.stack([batch.ra, batch.dec], axis=1)
            good = (batch.flags & _UNUSABLE == 0) & self._is_whole(batch)
            bands[rows] = good * self._bands(batch).sum(axis=1)
            bad = np.flatnonzero(~good)
            if len(bad) and not reason:
                reason = batch.reason[bad[0]] or _described(int(batch.flags[bad[0]]))
        if not bands.any():
            raise InputError(
                f"{self.path}: none of {counted(n, 'unlabelled object')} has a usable image in the "
                f"bands {''.join(self._wanted.bands)} ({reason})"
            )
        if self._catalog is not None:
            found = pc.index_in(pa.array(ids, pa.large_string()), value_set=self._ids)
            there = np.asarray(found.is_valid())
            if not there.any():
                raise InputError(
                    f"{self._catalog}: column 'object_id' has the id of none of the unlabelled "
                    f"objects (cutouts: {ids[0]!r}, ...)"
                )
            rows = found.drop_null().to_numpy()
            if self._told_ebv is not None:
                self._ebv[there] = self._told_ebv[rows]
            for number, fwhm in self._told_fwhm.items():
                self._psf_fwhm[there, number] = fwhm[rows]
        return bands, flags, np.array(ids), positions

    def _is_whole(self, batch: CutoutBatch) -> NDArray[np.bool_]:
        """Whether every pixel of the target is measured, in every band that is there, (N,)."""
        pixel = np.arange(self._wanted.size)
        x, y = (at[:, None] - pixel for at in (batch.x, batch.y))  # (N, S)
        radius = APERTURE_DIAMETER / 2 / self._wanted.pixel_scale
        with np.errstate(invalid="ignore"):
            target = np.square(y)[:, :, None] + np.square(x)[:, None, :] <= radius**2
        there = self._bands(batch)[:, :, None, None]
        lost = (batch.missing & there).any(axis=1) & target  # (N, S, S)
        return np.asarray(~lost.any(axis=(1, 2)))

    def _bands(self, batch: CutoutBatch) -> NDArray[np.bool_]:
        """Which bands are there, (N, B)."""
        places = np.arange(len(self._wanted.bands), dtype=np.uint8)
        return (batch.bands_used[:, None] >> places & 1).astype(bool)

    def _read(self, numbers: NDArray[np.int64], reuse: CutoutBatch | None = None) -> CutoutBatch:
        return read_batch([self._sources[k] for k in numbers.tolist()], self._wanted, reuse=reuse)


def _described(flags: int) -> str:
    for flag in Flag(flags & _UNUSABLE):
        return DESCRIPTIONS[flag]
    return "pixels of the target are not measured"


def _near(
    positions: NDArray[np.float64], held_out: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    """Which of (K, 2) positions are within `radius` of one of (H, 2), (K,)."""
    held_out = held_out[np.isfinite(held_out).all(axis=1)]
    part = np.repeat([split.TRAINING, split.TEST], [len(positions), len(held_out)]).astype(np.int8)
    together = np.concatenate([positions, held_out])
    return split.close_pairs(together, part, radius)[: len(positions)]


def _texts(ids: NDArray[Any]) -> NDArray[np.str_]:
    """Ids of a training file as those of cutouts are."""
    texts = [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in ids.tolist()
    ]
    return np.array([printable(text.strip()) for text in texts])


def _as_bytes(ids: NDArray[np.str_]) -> NDArray[np.bytes_]:
    return np.char.encode(ids, "utf-8")
