"""The catalogue's columns as surveys name them (`predict --naming`).

A naming replaces the columns of identity and of redshift, and no others: what surveys have no
common names for stays as it is. Every redshift column is made from p(z) by the definition that
stands behind its name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.catalog.schema import Z_COLUMNS, Column
from photoz_mmae.redshift.pdf import judge

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Naming:
    """Names of columns.

    Attributes
    ----------
    redshift : tuple of (Column, str)
        A column, and which of `Naming.values` it holds.
    point : str
        The column that is null where there is no redshift.
    identity : mapping of str to str
        New names of `object_id`, `ra`, `dec`, where they have some.
    judged : tuple of str
        Points beside z_best whose risk, confidence and deviation are wanted.
    """

    redshift: tuple[tuple[Column, str], ...]
    point: str
    identity: Mapping[str, str]
    judged: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """Names of the redshift columns, by what they hold."""
        return {source: column.name for column, source in self.redshift}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are made of p(z)."""
        return tuple(column for column, _ in self.redshift)

    def values(
        self, mass: Floats, edges: Floats, points: Mapping[str, Floats]
    ) -> dict[str, Floats]:
        """Make the redshift columns.

        Parameters
        ----------
        mass : (N, K) float
            Probability in bins.
        edges : (K+1,) float
            In ln(1+z).
        points : mapping
            What `redshift.pdf.summarise` says of them.

        Returns
        -------
        dict of str to (N,) float
        """
        known = dict(points)
        for point in self.judged:
            for what, values in judge(mass, edges, points[f"z_{point}"]).items():
                known[f"z_{what}_{point}"] = values
        return {column.name: known[source] for column, source in self.redshift}

    def name(self, column: str) -> str:
        """Return what a column of identity is called."""
        return self.identity.get(column, column)

    def published(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """Give the columns of identity their names."""
        return tuple(replace(column, name=self.name(column.name)) for column in columns)


_OURS = {column.name: column for column in Z_COLUMNS}


def _as(name: str, ours: str, best: str = "") -> tuple[Column, str]:
    """Make a column like one of ours; `best` stands in its description for z_best."""
    like = _OURS[ours]
    return replace(like, name=name, description=like.description.replace("z_best", best)), ours


def _hsc() -> tuple[tuple[Column, str], ...]:
    columns = [_as(f"photoz_{point}", f"z_{point}") for point in (*_HSC_POINTS, "mc")]
    for what in ("conf", "risk", "std"):
        for point in _HSC_POINTS:
            column, _ = _as(f"photoz_{what}_{point}", f"z_{what}_best", f"photoz_{point}")
            columns.append((column, f"z_{what}_{point}"))
    for end in ("err68_min", "err68_max", "err95_min", "err95_max"):
        columns.append(_as(f"photoz_{end}", f"z_{end}"))
    return tuple(columns)


_HSC_POINTS = ("mean", "mode", "median", "best")

STANDARD = Naming(tuple((column, column.name) for column in Z_COLUMNS), "z_best", {})

NAMINGS = {
    "standard": STANDARD,
    "hsc": Naming(_hsc(), "photoz_best", {}, judged=("mean", "mode", "median")),
    "lsst": Naming(
        (
            _as("zmode", "z_mode"),
            _as("zmean", "z_mean"),
            _as("zmedian", "z_median"),
            _as("z_p16", "z_err68_min"),
            _as("z_p84", "z_err68_max"),
        ),
        "zmode",
        {"object_id": "objectId", "ra": "coord_ra", "dec": "coord_dec"},
    ),
}
"""By the names that `--naming` takes."""


def naming_of(names: Collection[str]) -> Naming:
    """Say whose names a table has: the first naming all of whose columns are there.

    The standard one where none is, as of a table of somebody else.
    """
    for naming in NAMINGS.values():
        own = {naming.name("object_id"), *naming.names.values()}
        if own.issubset(names):
            return naming
    return STANDARD
