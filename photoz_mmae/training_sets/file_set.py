"""A training file as a training set: usable objects, split, weighted, read in batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.training_sets import split
from photoz_mmae.training_sets.galaxiesml import SpectraFile
from photoz_mmae.training_sets.hygiene import find_usable
from photoz_mmae.training_sets.matching import match, target_magnitudes
from photoz_mmae.training_sets.mixing import join, mixed_batches, without_labels
from photoz_mmae.training_sets.training_set import (
    Composition,
    HeldOut,
    Normalisation,
    TrainingBatch,
    counted,
)
from photoz_mmae.training_sets.unlabelled import Unlabelled

Sizes = tuple[int | None, int | None, int | None]
"""Of training, validation and test; None: all there are."""

SAMPLE_PER_BAND = 64
"""Objects of a sample, at least, that have each band, and its seeing, where so many have."""

_PUBLISHED = "--split published divides the rows at random"


class FileSet:
    """The objects of a GalaxiesML-Spectra file in three parts.

    Parameters
    ----------
    file : SpectraFile
    normalisation : {"paper", "relative"}
        Of the spectra.
    split_by : {"sky", "published"}
    shares : tuple of two floats
        Of validation and test, with `sky`.
    seed : int
        Of the split and, unless there is an `order_seed`, of the order of the objects.
    limit : int, optional
        Only the first so many rows.
    match_to : Path, optional
        Table of a target sample; see `matching`.
    sizes : tuple of three int or None, optional
        At most so many objects for training, validation and test, drawn at random; those of a
        smaller size are among those of a larger one.
    unlabelled : int
        With a size for training: so many other objects of that part are trained on, too, their
        redshifts and spectra hidden.
    cutouts : Unlabelled, optional
        Objects that have neither; in an epoch they are mixed with the others.
    every_band : bool
        Whether objects that lack a band are left out.
    order_seed : int, optional
        Of the order of the objects in each epoch.

    Raises
    ------
    InputError
        The file cannot be split so, or leaves a part empty.
    """

    def __init__(
        self,
        file: SpectraFile,
        normalisation: Normalisation,
        split_by: str,
        shares: tuple[float, float],
        seed: int,
        limit: int | None = None,
        match_to: Path | None = None,
        sizes: Sizes = (None, None, None),
        unlabelled: int = 0,
        cutouts: Unlabelled | None = None,
        every_band: bool = True,
        order_seed: int | None = None,
    ) -> None:
        self._file, self._normalisation, self._seed = file, normalisation, seed
        self._order_seed = seed if order_seed is None else order_seed
        self._cutouts = cutouts
        self.name, self.description = file.path.name, file.description
        self.mock_seed, self.survey, self.wave = file.mock_seed, file.survey, file.wave
        n = min(len(file), limit or len(file))
        usable = find_usable(file, n, every_band)
        known = np.isfinite(file.redshift[:n])
        keep, dropped, self._measured = usable.keep, usable.dropped, usable.measured
        if split_by == "published":
            part, words = split.published_split(len(file))[:n], "the published split"
        else:
            part, words, lost = self._split_sky(keep, shares)
            words = f"{words}, seed {seed}"
            for why, rows in lost.items():
                dropped[why] = int((keep & rows).sum())
                keep = keep & ~rows
        unscored = keep & (part != split.TRAINING) & ~known
        dropped["held out without redshift"] = int(unscored.sum())
        keep = keep & ~unscored
        parts = (split.TRAINING, split.VALIDATION, split.TEST)
        self._rows = {
            number: _drawn(np.flatnonzero(keep & (part == number)), size, seed)
            for number, size in zip(parts, sizes, strict=True)
        }
        # Numbers of training objects: rows of the file, and behind them the cutouts.
        others = np.setdiff1d(
            np.flatnonzero(keep & (part == split.TRAINING)), self._rows[split.TRAINING]
        )
        self._unlabelled = _drawn(others, unlabelled, seed)
        chosen = sum(len(rows) for rows in [*self._rows.values(), self._unlabelled])
        dropped["not drawn"] = int(keep.sum()) - chosen
        self._weights = np.ones(n)
        notes = [file.taken_for, *usable.notes]
        if match_to:
            notes += self._match(match_to, known, dropped)
        training = self._rows[split.TRAINING]
        if known[training].sum() < 2 or not len(self._rows[split.VALIDATION]):
            raise InputError(
                f"{file.path}: {known[training].sum()} objects with redshift for training and "
                f"{len(self._rows[split.VALIDATION])} for validation are too few"
            )
        with_band = self._measured[training].sum(axis=0)
        never = [b for b, number in zip(self.survey.bands, with_band, strict=True) if not number]
        if never:
            raise InputError(
                f"{file.path}: no training object has an image in band {', '.join(never)}: "
                "there is nothing to learn from"
            )
        if file.ebv is not None:
            unknown = np.isnan(file.ebv[np.concatenate(list(self._rows.values()))])
            if unknown.any():
                total = counted(len(unknown), "object")
                notes.append(f"{unknown.sum():,} of {total} have no usable E(B-V)")
        if cutouts is not None:
            notes += self._add_cutouts(cutouts, n, dropped)
        self.composition = Composition(
            source=str(file.path) if cutouts is None else f"{file.path} and {cutouts.path}",
            split=words,
            objects=n + (0 if cutouts is None else len(cutouts)),
            training=len(training) + len(self._unlabelled),
            unlabelled=len(self._unlabelled),
            validation=len(self._rows[split.VALIDATION]),
            test=len(self._rows[split.TEST]),
            lacking={
                "redshift": int((~known[training]).sum()),
                "spectrum": int((~usable.has_spectrum[training]).sum()),
                "a band": int((~self._measured[training].all(axis=1)).sum()),
            },
            dropped=dropped,
            notes=notes,
        )

    def sample(self, n: int) -> TrainingBatch:
        """Read the first training objects, and more for a band that few have, or its seeing."""
        rows, training = [self._rows[split.TRAINING][:n]], self._rows[split.TRAINING]
        told = self._measured & np.isfinite(self._file.psf_fwhm[: len(self._measured)])
        for known in np.hstack([self._measured, told]).T:
            if known[rows[0]].sum() < min(SAMPLE_PER_BAND, n):
                rows.append(training[known[training]][:SAMPLE_PER_BAND])
        return self._file.read(np.unique(np.concatenate(rows)), self._normalisation)

    def epoch(self, epoch: int, batch_size: int, first_step: int) -> Iterator[TrainingBatch]:
        """Every training object once, in an order of this epoch's own, from a step on."""
        rows, rng = self._rows[split.TRAINING], np.random.default_rng([self._order_seed, epoch])
        size = min(batch_size, len(rows) + len(self._unlabelled))
        for batch in mixed_batches(rows, self._unlabelled, size, rng)[first_step:]:
            yield self._read(batch)

    def held_out(self, part: HeldOut, batch_size: int) -> Iterator[TrainingBatch]:
        """Give the objects of a part in batches, in the order of the file."""
        rows = self.rows(part)
        for start in range(0, len(rows), batch_size):
            yield self._file.read(rows[start : start + batch_size], self._normalisation)

    def classes(self, part: HeldOut) -> NDArray[np.str_] | None:
        """Class of each object of a part; mock data have it."""
        names = self._file.classes()
        return None if names is None else names[self.rows(part)]

    def _read(self, numbers: NDArray[np.int64]) -> TrainingBatch:
        """Read training objects, in the order asked for."""
        own = numbers < len(self._file)
        batches = []
        if own.any():
            rows = numbers[own]
            batch = self._file.read(rows, self._normalisation, self._weights[rows])
            batches.append(without_labels(batch, np.isin(rows, self._unlabelled)))
        if self._cutouts is None or own.all():
            return batches[0]
        batches.append(self._cutouts.read(numbers[~own] - len(self._file), self._normalisation))
        return join(batches)[torch.from_numpy(np.argsort(np.argsort(~own, kind="stable")))]

    def _add_cutouts(self, cutouts: Unlabelled, n: int, dropped: dict[str, int]) -> list[str]:
        """Add those to be trained on beside the first `n` rows; returns what is to be said."""
        ids, positions = self._file.column("object_id"), self._file.positions()
        held_out = np.concatenate([self._rows[split.VALIDATION], self._rows[split.TEST]])
        chosen = cutouts.choose(
            None if ids is None else ids[:n],
            None if positions is None else positions[held_out],
            self._stamp_radius,
            needs_ebv=self._file.ebv is not None,
        )
        dropped |= chosen.dropped
        self._unlabelled = np.append(self._unlabelled, len(self._file) + chosen.numbers)
        return chosen.notes

    @property
    def _stamp_radius(self) -> float:
        """Arcsec: stamps nearer than this may show the same sky."""
        return float(np.sqrt(2) * self._file.image_shape[2] * self._file.survey.pixel_scale)

    def rows(self, part: HeldOut) -> NDArray[np.int64]:
        """Return the rows of the file that a part's objects are, in order."""
        return self._rows[split.VALIDATION if part == "validation" else split.TEST]

    def _split_sky(
        self, keep: NDArray[np.bool_], shares: tuple[float, float]
    ) -> tuple[NDArray[np.int8], str, dict[str, NDArray[np.bool_]]]:
        """Part of each row (n,), in words, and which rows are lost to it and why."""
        n, path = len(keep), self._file.path
        positions = self._file.positions()
        lost: dict[str, NDArray[np.bool_]] = {}
        if positions is not None:
            positions = positions[:n]
            lost["without position"] = np.any(~np.isfinite(positions), axis=1)
            usable = keep & ~lost["without position"]
            blocks, words = split.sky_blocks(positions[usable]), "blocks of the sky of 1 degree"
        else:
            usable = keep
            blocks, words = self._tracts()[:n][usable], "HSC tracts"
        if len(np.unique(blocks)) < 2:
            raise InputError(
                f"{path}: all objects are in one block ({words}; positions are looked for in "
                f"DESI_fibermap/TARGET_RA, HSC_metadata/ra, ra and simulation/ra), which cannot be "
                f"split; {_PUBLISHED}"
            )
        part = np.full(n, split.TRAINING, dtype=np.int8)
        part[usable] = split.split_blocks(blocks, *shares, self._seed)
        if positions is not None:
            # Stamps that overlap show the same sky, whichever side of a border they are on.
            close = np.zeros(n, dtype=bool)
            close[usable] = split.close_pairs(positions[usable], part[usable], self._stamp_radius)
            lost["on the stamp of one of another part"] = close
        return part, words, lost

    def _tracts(self) -> NDArray[np.int64]:
        """HSC tracts (N,) from `object_id`; raises InputError where they say nothing."""
        ids = self._file.column("object_id")
        try:
            tracts = split.hsc_tracts(np.zeros(0, "i8") if ids is None else ids.astype(np.int64))
        except ValueError:
            tracts = np.zeros(0, "i8")
        if not tracts.any():
            raise InputError(
                f"{self._file.path}: no positions (DESI_fibermap/TARGET_RA, HSC_metadata/ra, ra) "
                f"and no HSC object_id to split the sky by; {_PUBLISHED}"
            )
        return tracts

    def _match(self, target: Path, known: NDArray[np.bool_], dropped: dict[str, int]) -> list[str]:
        """Weigh the training objects that have a redshift; those of weight 0 are left out."""
        names = {band: f"HSC_metadata/{band}_cmodel_mag" for band in self.survey.bands}
        columns = {band: self._file.column(name) for band, name in names.items()}
        wanted = target_magnitudes(target, self.survey.bands)
        bands = [band for band in wanted if columns[band] is not None]
        if len(bands) < 2:
            raise InputError(
                f"{self._file.path}: --match-to needs HSC_metadata/<b>_cmodel_mag of at least two "
                f"of the bands {', '.join(wanted)}"
            )
        training = self._rows[split.TRAINING]
        rows = training[known[training]]
        if len(rows) < 2:
            return []
        source = np.stack([np.asarray(columns[b], dtype=np.float64)[rows] for b in bands], axis=1)
        matched = match(source, np.stack([wanted[b] for b in bands], axis=1))
        self._weights[rows] = matched.weights
        dropped["unlike the target sample"] = int((matched.weights == 0).sum())
        self._rows[split.TRAINING] = training[self._weights[training] > 0]
        left = int((matched.weights > 0).sum())
        return [
            f"matched to {target} in {'-'.join(bands)}: {counted(left, 'object')} with "
            f"redshift count as {matched.effective:,.0f}; {matched.outside:.1%} of the target "
            "sample is outside the training sample's reach"
        ]


def _drawn(rows: NDArray[np.int64], size: int | None, seed: int) -> NDArray[np.int64]:
    """Draw up to `size` of the rows, in increasing order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return np.sort(rows[order[:size]])
