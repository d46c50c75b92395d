"""In what form a run's rows come out: file or folder, HATS, an ensemble of p(z) beside it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from distributed import Client

from photoz_mmae.catalog.hats import hats_layout
from photoz_mmae.catalog.layouts import Layout, catalogue_files, folder_of_parts, one_file
from photoz_mmae.catalog.naming import Naming
from photoz_mmae.catalog.qp import (
    CATALOGUE_KEY,
    Ensemble,
    described,
    read_attributes,
    write_ensemble,
)
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.model.info import ModelInfo
from photoz_mmae.survey_run import records
from photoz_mmae.survey_run.cluster import dask_client, local_workers
from photoz_mmae.survey_run.run_folder import SETTINGS_KEY, RunFolder
from photoz_mmae.survey_runs import PredictRun, SurveyRun

CATALOGUE_SHA256_KEY = "photoz_mmae.catalogue_sha256"
"""Attribute of the ensemble's file: of which catalogue it is."""


class Publication:
    """What a run's options make of its rows.

    Parameters
    ----------
    run : SurveyRun
    folder : RunFolder
    naming : Naming
        Of the columns.
    """

    def __init__(self, run: SurveyRun, folder: RunFolder, naming: Naming) -> None:
        self._run = run
        self._folder = folder
        self._naming = naming
        self.hats = isinstance(run, PredictRun) and run.hats
        self.qp = run.qp.absolute() if isinstance(run, PredictRun) and run.qp else None

    def check(self, model: ModelInfo) -> None:
        """Raise at once when something is asked for that cannot be.

        Raises
        ------
        UsageError
            A library is missing, the model has no p(z), or a file would be in the wrong place.
        OutputError
            The folder of the ensemble is missing or cannot be reached, or its file is not ours.
        """
        if self.hats:
            _check_installed("--hats", "hats_import", "hats")
        if self.qp is None:
            return
        _check_installed("--qp", "qp", "qp")
        if model.z_edges is None:
            raise UsageError(f"--qp: the model {model.name} gives a redshift and no p(z)")
        for place in (self._folder.output, self._folder.path):
            if self.qp.is_relative_to(place):
                raise UsageError(f"--qp {self.qp}: in {place} is no place for it; put it beside")
        try:
            if not self.qp.parent.is_dir():
                raise OutputError(f"{self.qp.parent}: no such folder for --qp; make it first")
            is_there = self.qp.exists()
        except OSError as error:
            raise OutputError(f"--qp {self.qp}: cannot be reached ({error.strerror})") from error
        if is_there and not read_attributes(self.qp):
            raise OutputError(
                f"{self.qp} exists and is no file of --qp; choose another name, or move it away"
            )

    def check_ours(self, settings: dict[str, Any]) -> None:
        """Raise OutputError when the ensemble's file is that of another catalogue."""
        if self.qp is None or not self.qp.exists():
            return
        said = read_attributes(self.qp)
        same = json.loads(said.get(SETTINGS_KEY, "null")) == settings
        name = said.get(CATALOGUE_KEY, "")
        is_of_it = name == self._folder.output.name
        # The catalogue may have had another name; a copy of one that is still there is another.
        if not is_of_it and not os.path.lexists(self._folder.output.parent / name):
            lines = records.read_lines(self._folder.outputs)
            written = {line.record.get("sha256") for line in lines}
            is_of_it = said.get(CATALOGUE_SHA256_KEY) in written
        if not same or not is_of_it:
            raise OutputError(
                f"{self.qp} holds the p(z) of {said.get(CATALOGUE_KEY)}, or was made with other "
                "settings; choose another name, or --overwrite to start anew"
            )

    @property
    def layout(self) -> Layout:
        """How the catalogue lies on the disk."""
        if self._folder.is_file:
            return one_file
        if not self.hats:
            return folder_of_parts
        object_id, ra, dec = (self._naming.name(name) for name in ("object_id", "ra", "dec"))
        return hats_layout(self._folder.hats, object_id, ra, dec, self._client)

    def write_ensemble(self) -> tuple[Ensemble | None, bool]:
        """Bring the ensemble up to date with the catalogue.

        Returns what it holds, and whether it was written now.
        """
        if self.qp is None:
            return None, False
        output, sha256 = self._folder.output, self._folder.output_sha256
        found = read_attributes(self.qp)
        if found.get(CATALOGUE_SHA256_KEY) == sha256:
            return described(self.qp, found), False
        metadata = {**self._folder.output_metadata(), CATALOGUE_SHA256_KEY: str(sha256)}
        files = catalogue_files(output)
        name = self._naming.name("object_id")
        return write_ensemble(self.qp, files, output.name, name, metadata), True

    @contextmanager
    def _client(self) -> Iterator[Client]:
        # One more start of local workers costs a second; the run's own may be gone long since.
        wanted = local_workers(self._run.workers, 0, "cpu")
        workers = min(wanted, len(list(self._folder.parts.iterdir())))
        with dask_client(self._run.scheduler, workers, self._folder.scratch) as client:
            yield client


def _check_installed(option: str, module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise UsageError(
            f"{option}: {module.replace('_', '-')} is not installed; "
            f"pip install 'photoz-mmae[{extra}]'"
        )
