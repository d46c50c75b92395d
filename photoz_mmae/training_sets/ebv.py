"""E(B-V) of the objects of a training file, wherever the file has it."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from photoz_mmae.errors import InputError
from photoz_mmae.model.dust import usable_ebv
from photoz_mmae.surveys import Survey


def read_ebv(file: h5py.File, n: int, survey: Survey) -> NDArray[np.float32]:
    """Read E(B-V), mag, (n,); NaN where it is missing, negative or absurd.

    The first of these that is there: `HSC_metadata/ebv`, `DESI_fibermap/EBV`, the g-band extinction
    `HSC_metadata/a_g` over its coefficient, `ebv`, `simulation/ebv`.

    Raises
    ------
    InputError
        There is none, it is not one number per object, or no object has a usable one.
    """
    coefficients = dict(zip(survey.bands, survey.extinction, strict=True))
    places = {"HSC_metadata/ebv": 1.0, "DESI_fibermap/EBV": 1.0}
    if "g" in coefficients:
        places["HSC_metadata/a_g"] = coefficients["g"]
    places |= {"ebv": 1.0, "simulation/ebv": 1.0}
    name = next((name for name in places if isinstance(file.get(name), h5py.Dataset)), None)
    if name is None:
        raise InputError(
            f"{file.filename}: no E(B-V) (looked for {', '.join(places)}); add one of them, or "
            "train with --dust none"
        )
    values: Any = file[name]
    if values.shape != (n,) or values.dtype.kind not in "fiu":
        raise InputError(
            f"{file.filename}: {name!r} has shape {values.shape}, type {values.dtype}; "
            f"{n} numbers are needed, or --dust none"
        )
    ebv = usable_ebv(values[:] / places[name])
    if np.isnan(ebv).all():
        raise InputError(
            f"{file.filename}: {name!r} holds no usable E(B-V); mend it or train with --dust none"
        )
    return ebv
