"""What is wrong with a training file is one line, and nothing is left behind."""

import h5py
import numpy as np
import pytest
from blobs import arguments, blobs, run


def delete(name):
    return lambda file: file.__delitem__(name)


def replace(name, change):
    def damage(file):
        values = change(file[name][:])
        del file[name]
        file[name] = values

    return damage


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def one_block(file):
    file["ra"][:], file["dec"][:] = 150.3, 2.2


def one_band_dead(image):
    image[:, 3] = 1.0
    return image


def no_position(file):
    del file["ra"], file["object_id"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (attribute("zero_point", 31.4), "'zero_point' is 31.4, but 27.0 for training"),
        (
            attribute("pixel_scale", 0.2),
            "name it in the attribute 'survey' (hsc-wide, lsst-y1, lsst-y10, lsst-dp1)",
        ),
        (attribute("pixel_scale", 0.262), "'pixel_scale' is 0.262, but 0.168 for training"),
        (attribute("bands", "yzirg"), "'bands' is yzirg, but grizy for training"),
        (replace("object_id", lambda ids: ids + 4e16), "'object_id' holds floats so"),
        (delete("spectrum/ivar"), "dataset 'spectrum/ivar' is missing"),
        (delete("image"), "dataset 'image' is missing"),
        (delete("DESI_fibermap/DESI_redshift"), "'DESI_fibermap/DESI_redshift' is missing"),
        (delete("spectrum/wave"), "dataset 'spectrum/wave' is missing"),
        (replace("DESI_fibermap/DESI_redshift", lambda z: z * np.nan), "no object has a redshift"),
        (replace("DESI_fibermap/DESI_redshift", lambda z: -z), "no object has a redshift"),
        (replace("DESI_fibermap/DESI_redshift", lambda z: z[1:]), "redshift 59"),
        (replace("image", lambda image: image[:7]), "different lengths: image 7, "),
        (replace("object_id", lambda ids: ids[1:]), "different lengths: 'object_id'"),
        (replace("image", np.zeros_like), "every image is constant in all bands"),
        (replace("image", lambda image: image * np.nan), "every image is constant in all bands"),
        (replace("image", one_band_dead), "no training object has an image in band z: "),
        (replace("image", lambda image: image[:, :4]), "4 bands; the survey hsc-wide has 5"),
        (replace("image", lambda image: image[..., :60]), "images of 64 x 60 pixels; not square"),
        (
            replace("image", lambda image: image[..., :60, :60]),
            "60 x 60 pixels; the network cuts them into patches of 8 pixels",
        ),
        (
            replace("spectrum/wave", lambda wave: wave + 20),
            "as DESI's 259 pixels from 3611.6 to ",
        ),
        (
            replace("spectrum/wave", lambda wave: wave + np.arange(len(wave))[:, None]),
            "as DESI's 259 pixels",
        ),
        (replace("spectrum/wave", lambda wave: wave * np.nan), "'spectrum/wave' goes from nan"),
        (replace("spectrum/wave", lambda wave: wave[:, 1:]), "'spectrum/wave' has shape (60, 258)"),
        (one_block, "which cannot be split; --split published"),
        (no_position, "no HSC object_id to split the sky by; --split published"),
        (lambda file: file.attrs.update(survey="lost"), "unknown survey 'lost'"),
    ],
)
def test_damaged_training_file(training_file, tmp_path, damage, message, capsys):
    path = tmp_path / "damaged.hdf5"
    path.write_bytes(training_file.read_bytes())
    with h5py.File(path, "a") as file:
        damage(file)
    assert run(*arguments(path, tmp_path / "m", epochs=1)) == 4
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_published_split_needs_no_position(training_file, tmp_path):
    path = tmp_path / "t.hdf5"
    path.write_bytes(training_file.read_bytes())
    with h5py.File(path, "a") as file:
        no_position(file)
    assert run(*arguments(path, tmp_path / "m", epochs=1, split="published")) == 0


def test_too_few_objects(tmp_path, capsys):
    from blobs import write

    values = blobs(12)
    values["DESI_fibermap/DESI_redshift"][2:] = np.nan
    path = write(tmp_path / "t.hdf5", values)
    assert run(*arguments(path, tmp_path / "m", epochs=1, split="published")) == 4
    assert "are too few" in capsys.readouterr().err
