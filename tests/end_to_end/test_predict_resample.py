"""`predict --resample`: part of the settings, and seen in the flags."""

import fitsio
import numpy as np
import pyarrow.parquet as pq

from photoz_mmae.flags import Flag


def test_images_of_another_scale(predict, write_cube, tmp_path):
    path = write_cube(tmp_path / "in/1.fits")
    planes = fitsio.read(path)
    fitsio.write(path, planes, header={"MAGZERO": 27.0, "PIXSCALE": 0.2}, clobber=True)
    write_cube(tmp_path / "in/2.fits", seed=2)
    rows = []
    for name, options in (("plain", ()), ("resampled", ("--resample",))):
        output = tmp_path / f"{name}.parquet"
        assert predict(tmp_path / "in", *options, output=output)[0] == 0
        rows.append(pq.read_table(output).to_pylist())
    scale = Flag.OTHER_PIXEL_SCALE | Flag.RESAMPLED
    plain, resampled = rows
    assert [row["flags"] & scale for row in plain] == [Flag.OTHER_PIXEL_SCALE, 0]
    assert [row["flags"] & scale for row in resampled] == [Flag.RESAMPLED, 0]
    assert resampled[0]["z_best"] != plain[0]["z_best"]
    assert resampled[1] == plain[1]
    # The aperture holds the same sky either way.
    np.testing.assert_allclose(resampled[0]["flux_i"], plain[0]["flux_i"], rtol=0.1)


def test_it_is_one_of_the_settings(predict, cutouts, tmp_path):
    output = tmp_path / "c.parquet"
    assert predict(cutouts / "1000.fits", output=output)[0] == 0
    code, _, error = predict(cutouts / "1000.fits", "--resample", output=output)
    assert code == 6
    assert "resample" in error
