"""The real files of the shared folder, as surveys and pipelines wrote them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from cutout_files import read_measured

from photoz_mmae.cutouts.batch import CutoutBatch
from photoz_mmae.cutouts.discover import discover
from photoz_mmae.errors import InputError
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.surveys import HSC_WIDE


def read(*paths: Path) -> CutoutBatch:
    sources = discover([str(path) for path in paths]).sources
    return read_measured(sources, HSC_WIDE.bands, 64, HSC_WIDE.pixel_scale)


def test_what_is_found(shared_data: Path) -> None:
    found = discover([str(shared_data / "hsc_cubes"), str(shared_data / "hsc_like_sim/cutouts")])
    assert len(found.sources) == 47
    assert found.ignored == 1
    found = discover([str(shared_data / "hsc_das_cutouts")])
    assert (len(found.sources), found.ignored) == (6, 1)


def test_a_real_hsc_cube(shared_data: Path) -> None:
    batch = read(shared_data / "hsc_cubes")
    assert batch.object_id == ["hsc_ra150.24071_dec2.06514"]
    assert batch.flags[0] == Flag.PADDED | Flag.NO_ZERO_POINT
    assert abs(batch.ra[0] - 150.2407) * 3600 < 1
    assert abs(batch.dec[0] - 2.0651) * 3600 < 1
    assert (batch.flux[0] / batch.flux_err[0] > 50).all()


def test_simulated_stamps_with_variances(shared_data: Path) -> None:
    batch = read(shared_data / "hsc_like_sim" / "cutouts")
    with (shared_data / "hsc_like_sim" / "truth.csv").open() as file:
        truth = {row["object_id"]: row for row in csv.DictReader(file)}
    assert sorted(batch.object_id) == sorted(truth)
    assert not (batch.flags & NO_REDSHIFT).any()
    assert (batch.flags & Flag.PADDED).astype(bool).all()
    assert (batch.bands_used == 0b11111).all()
    rows = [truth[name] for name in batch.object_id]
    for name, values in (("ra", batch.ra), ("dec", batch.dec)):
        np.testing.assert_allclose(values, [float(row[name]) for row in rows], atol=1e-6)
    measured = 31.4 - 2.5 * np.log10(batch.flux)
    total = np.array([[float(row[f"mag_{band}"]) for band in HSC_WIDE.bands] for row in rows])
    # Two arcsec hold most of a galaxy's light, and now and then some of its neighbour's.
    loss = measured - total
    assert (np.abs(np.median(loss, axis=0) - 0.35) < 0.15).all()
    assert (np.percentile(np.abs(loss - np.median(loss, axis=0)), 80, axis=0) < 0.4).all()
    # Errors as one expects of HSC's wide layer and deeper: 5 sigma in 2" beyond 25 mag.
    depth = 31.4 - 2.5 * np.log10(5 * np.median(batch.flux_err, axis=0))
    assert ((depth > 24) & (depth < 28.5)).all()


def test_cutout_service_files_hold_one_band(shared_data: Path) -> None:
    batch = read(shared_data / "hsc_das_cutouts")
    assert (batch.flags & NO_REDSHIFT == Flag.MISSING_BAND).all()
    assert (batch.bands_used == 0b00100).all()
    assert np.isfinite(batch.flux[:, 2]).all()
    assert (batch.flux[:, 2] > 0).all()
    assert np.isnan(batch.flux[:, [0, 1, 3, 4]]).all()
    one_band = discover([str(shared_data / "hsc_das_cutouts")]).sources
    batch = read_measured(one_band, ("i",), 25, HSC_WIDE.pixel_scale)
    # The service rounds: two of the six have a side of 24.
    # A bright one may well be larger than four arcsec.
    flags = batch.flags & ~Flag.TRUNCATED
    assert sorted(flags) == [0, 0, 0, 0, Flag.PADDED, Flag.PADDED]
    assert batch.images[:, 0, 10:15, 10:15].max() > 100


@pytest.mark.parametrize("folder", ["desi", "lsst_exposure"])
def test_files_that_are_no_cutouts_get_a_row(shared_data: Path, folder: str) -> None:
    batch = read(shared_data / folder)
    assert len(batch.object_id) == 1
    assert batch.flags[0] & NO_REDSHIFT
    assert batch.reason[0]


def test_spectra_in_tables_are_ignored(shared_data: Path) -> None:
    with pytest.raises(InputError, match="4 other files ignored"):
        discover([str(shared_data / "sdss_spectra")])
