"""The same pixels, as cubes and as archives serve them, give the same catalogue."""

import fitsio
import numpy as np
import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import Flag
from photoz_mmae.surveys import NJY_PER_FLUX

NO_DATA = 8
CARDS = {
    "lsst": lambda band: {"BTLRNAME": "deep_coadd", "BTLRK000": "band", "BTLRV000": band},
    "hsc": lambda band: {"FILTER": f"HSC-{band.upper()}", "FLUXMAG0": 10**10.8},
}


@pytest.fixture(params=["lsst", "hsc"])
def served(request, cutouts, tmp_path):
    """The cutouts with mask and variance, one file per band, in the archive's units.

    Of every third object the mask says that a corner was not measured.
    """
    folder = tmp_path / "served"
    folder.mkdir()
    factor = NJY_PER_FLUX if request.param == "lsst" else 1.0
    for number, file in enumerate(sorted(cutouts.glob("*.fits"))):
        for band, image in zip("grizy", fitsio.read(file), strict=True):
            mask = np.zeros(image.shape, np.int32)
            mask[:2, :3] = (1 << NO_DATA) * (number % 3 == 0)
            variance = np.full(image.shape, 0.01 * factor**2, np.float32)
            with fitsio.FITS(folder / f"{file.stem}_{band}.fits", "rw") as made:
                made.write(None, header=CARDS[request.param](band))
                unit = {"BUNIT": "nJy"} if request.param == "lsst" else {}
                sky = {"RA": 150.0 + number * 1e-3, "DEC": 2.0}
                made.write(
                    (image * factor).astype(np.float32), header=unit | sky | {"EXTTYPE": "IMAGE"}
                )
                planes = {"MP_SAT": 1, "MP_NODATA": 3, "MP_NO_DATA": NO_DATA}
                made.write(mask, header=planes | {"EXTTYPE": "MASK"})
                made.write(variance, header={"EXTTYPE": "VARIANCE"})
    return folder


def test_the_catalogue_is_that_of_cubes(cutouts, served, predict, tmp_path):
    tables = []
    for folder in (cutouts, served):
        output = tmp_path / f"{folder.name}.parquet"
        code, _, err = predict(folder, output=output)
        assert code == 0, err
        tables.append(pq.read_table(output).sort_by("object_id"))
    cubes, archive = tables
    assert archive["object_id"].to_pylist() == cubes["object_id"].to_pylist()
    masked = np.array(archive["flags"]) & Flag.MASKED_PIXELS != 0
    np.testing.assert_array_equal(masked, np.arange(12) % 3 == 0)
    for name in ("z_best", "flux_i"):
        one, two = np.array(cubes[name]), np.array(archive[name])
        np.testing.assert_allclose(one[~masked], two[~masked], rtol=1e-4)
