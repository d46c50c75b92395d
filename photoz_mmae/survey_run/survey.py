"""A run over a survey from end to end: find, plan, do what is not done, merge."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from photoz_mmae import __version__
from photoz_mmae.catalog.hats import UNPLACED_KEY
from photoz_mmae.catalog.schema import SCHEMA_VERSION, SCHEMA_VERSION_KEY, Column
from photoz_mmae.errors import OutputError, UsageError
from photoz_mmae.flags import NO_REDSHIFT, Flag
from photoz_mmae.inference.device import check_device_name, count_gpus, resolve_device
from photoz_mmae.limits import tolerated
from photoz_mmae.model.info import ModelInfo, find_model, load_info, read_weights
from photoz_mmae.provenance import fingerprint, now, settings_sha256
from photoz_mmae.survey_run.cluster import gpus_to_share, local_workers, part_size
from photoz_mmae.survey_run.compute import Workers
from photoz_mmae.survey_run.given import Given
from photoz_mmae.survey_run.journal import PartRecord, remove_strays
from photoz_mmae.survey_run.kept_columns import KeptColumns, keep_columns, stored_types
from photoz_mmae.survey_run.merge import (
    FLAG_COUNTS_KEY,
    ID_TYPE_KEY,
    NO_EBV_KEY,
    REPEATED_KEY,
    SAME_SKY_KEY,
    FinishedPart,
    merge,
    read_problems,
)
from photoz_mmae.survey_run.object_table import (
    CatalogFile,
    ObjectTable,
    read_objects,
)
from photoz_mmae.survey_run.objects import find_objects, kind_of_objects
from photoz_mmae.survey_run.part import PartSettings
from photoz_mmae.survey_run.plan import Part, update_plan
from photoz_mmae.survey_run.products import product_of
from photoz_mmae.survey_run.publish import Publication
from photoz_mmae.survey_run.ranges import write_ranges
from photoz_mmae.survey_run.run_folder import SETTINGS_KEY, RunFolder
from photoz_mmae.survey_run.slurm import check_slurm
from photoz_mmae.survey_run.telling import Report, Summary
from photoz_mmae.survey_run.todo import ToDo
from photoz_mmae.survey_runs import SurveyRun


def run_survey(run: SurveyRun, report: Report) -> Summary:
    """Bring the catalogue, or the table of embeddings, `run.output` up to date with the cutouts.

    Raises
    ------
    InputError, ModelError, OutputError, LockedError, UsageError
        What cannot be used, before anything is changed.
    PhotozError
        A part failed.
    """
    _check_tables(run)
    folder = RunFolder(run.output)
    folder.check_place()
    model_folder = find_model(run.model).absolute()
    model = load_info(model_folder)
    read_weights(model_folder, model)  # damage is said here, not by some worker
    product = product_of(run)
    product.check(model)
    publication = Publication(run, folder, product.naming)
    publication.check(model)
    gpus = 0
    if run.scheduler or run.cluster:
        device = _device_elsewhere(run)
    else:
        device = resolve_device(run.device)
        gpus = gpus_to_share(run.gpus, run.device, count_gpus())
    if run.cluster:
        check_slurm()
    with folder.locked(), folder.record.ending():
        return _Survey(run, publication, folder, model_folder, model, device, gpus).go(report)


def _device_elsewhere(run: SurveyRun) -> str:
    """Return the device that workers elsewhere are told; whether it is there is their affair."""
    check_device_name(run.device)
    # Jobs that see none of the GPUs they asked for are to say so, not to take the CPU.
    asks_for_gpus = run.cluster is not None and run.cluster.gpus > 0
    return "cuda" if asks_for_gpus and run.device == "auto" else run.device


def _check_tables(run: SurveyRun) -> None:
    """Raise UsageError where the output would take the place of a table that is read."""
    for option, table in (("--catalog", run.catalog), ("--list", run.list)):
        try:
            is_same = table is not None and table.samefile(run.output)
        except OSError:
            continue  # one is not there or out of reach: that is said where it is used
        if is_same:
            raise UsageError(f"{option} and --output are the same file, {table}; name another")


class _Survey:
    def __init__(
        self,
        run: SurveyRun,
        publication: Publication,
        folder: RunFolder,
        model_folder: Path,
        model: ModelInfo,
        device: str,
        gpus: int,
    ) -> None:
        self.run = run
        self.publication = publication
        self.product = product_of(run)
        self.folder = folder
        self.model_folder = model_folder
        self.model = model
        self.device = device
        self.gpus = gpus
        # What decides the values; everything else may differ from one command to the next.
        self.settings: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": model.name,
            "model_sha256": model.sha256,
            **self.product.settings,
        }
        if kind := kind_of_objects(run):
            self.settings["objects"] = kind
        if run.list is not None:
            self.settings["list"] = "ids and positions"
        if run.resample:
            self.settings["resample"] = True
        self.table: ObjectTable | None = None
        self.table_folder: Path | None = None
        self.kept: KeptColumns | None = None
        self.has_ebv = False
        self.psf_bands: list[str] = []
        self.made_with = ""

    def go(self, report: Report) -> Summary:
        run, folder = self.run, self.folder
        file = CatalogFile(run, _psf_bands(self.model)) if run.catalog is not None else None
        if file is not None:
            self.has_ebv = "ebv" in file.columns
            self.psf_bands = file.psf_bands
            self.settings["catalog"] = "ebv" if self.has_ebv else "no ebv"
            if self.psf_bands:
                self.settings["catalog"] += f" and psf_fwhm of {''.join(self.psf_bands)}"
        self.made_with = settings_sha256(self.settings)
        state_before = None
        if not run.overwrite:
            state_before = folder.check_ours(self.settings)
            self.publication.check_ours(self.settings)
            if folder.record.facts:
                folder.record.begin(self.settings)
        found = None
        if file is not None:
            kinds = stored_types(
                file.table, run.keep, self.product.naming.published(self._own_columns())
            )
            found = read_objects(file)
            report.catalog(file.table.path, found)
        objects = find_objects(run, self.model.bands, file, found)
        report.found(objects)
        folder.begin(self.settings, run.overwrite)
        folder.remove_kept()
        if file is not None and found is not None:
            self._keep_table(found.objects)
            if run.keep:
                assert self.table is not None
                self.kept = keep_columns(file.table, kinds, self.table, found.rows, folder.kept)
        del file, found

        elsewhere = run.scheduler or run.cluster
        local = None if elsewhere else local_workers(run.workers, self.gpus, self.device)
        size = part_size(run.part_size, len(objects.sources), local)
        parts = update_plan(folder.plan, objects.sources, size, run.checksum)
        first = objects.sources[0]
        del objects
        given = Given(self.table, self.has_ebv, self.psf_bands) if self.table else None
        todo = ToDo(parts, folder, self.made_with, given, run.retry_bad)
        remove_strays(folder.parts, todo.journal.values())
        rows = sum(part.rows for part in parts)
        folder.record.note(
            rows=rows,
            parts=len(parts),
            rows_to_do=sum(part.rows for part in todo.parts),
            parts_to_do=len(todo.parts),
            which_to_do=write_ranges(part.number for part in todo.parts),
        )
        report.begins(self.model, self.device, len(parts), todo.parts)

        start = time.perf_counter()
        if todo.parts:

            def finished(record: PartRecord) -> None:
                todo.done(record)
                report.part_done(record.rows)

            workers = Workers(run, folder, self.gpus, report)
            workers.compute(todo.jobs(), self._part_settings(), finished, first, self.model.bands)
            remove_strays(folder.parts, todo.journal.values())
        records = [todo.journal[part.number] for part in parts]
        gone = sum(len(part.gone) for part in parts)
        more = [self.kept.sha256] if self.kept else []
        more += ["hats"] if self.publication.hats else []
        more += ["reproducible"] if run.reproducible else []
        state = fingerprint([*(r.sha256 for r in records), *(str(p.gone) for p in parts), *more])
        before = folder.output_metadata()
        problems = read_problems(folder.problems)
        changed = state_before != state or problems is None
        if changed:
            self._merge(parts, records, state)
            problems = read_problems(folder.problems)
        if problems is None:
            raise OutputError(f"{folder.problems}: damaged while it was in use")
        metadata = folder.output_metadata()
        ensemble, ensemble_changed = self.publication.write_ensemble()
        summary = Summary(
            output=run.output,
            thing=self.product.thing,
            rows=rows,
            problems=problems,
            problems_file=folder.problems,
            gone=gone,
            unasked=sum(len(part.unasked) for part in parts),
            repeated=int(metadata[REPEATED_KEY]),
            same_sky=int(metadata.get(SAME_SKY_KEY, "0")),
            without_ebv=int(metadata.get(NO_EBV_KEY, "0")),
            flags=json.loads(metadata.get(FLAG_COUNTS_KEY, "{}")),
            ids_became_text=before.get(ID_TYPE_KEY, "") not in ("", metadata[ID_TYPE_KEY])
            and metadata[ID_TYPE_KEY] == "string",
            computed=sum(part.rows for part in todo.parts),
            seconds=time.perf_counter() - start,
            changed=changed or ensemble_changed,
            tolerated=(allowed := tolerated(run.max_bad, rows)),
            exit_code=3 if problems.bad - problems.gone > allowed else 0,
            hats=self.publication.hats,
            unplaced=int(metadata.get(UNPLACED_KEY, "0")),
            ensemble=ensemble,
        )
        folder.record.note(
            exit=summary.exit_code,
            ended=now(),
            rows_computed=summary.computed,
            rows_bad=problems.bad,
            rows_gone=gone,
            flags=dict(summary.flags),
            seconds=round(summary.seconds, 3),
            objects_per_second=round(summary.computed / summary.seconds, 1),
            changed=summary.changed,
        )
        return summary

    def _keep_table(self, table: ObjectTable) -> None:
        """Put the table where the workers find it, under a name that follows its content."""
        sha256 = table.sha256
        self.made_with += f":{sha256}"
        self.table_folder = self.folder.table(sha256)
        self.folder.remove_tables(keep=self.table_folder)
        if not self.table_folder.exists():
            table.save(self.table_folder)
        self.table = ObjectTable.open(self.table_folder)

    def _own_columns(self) -> tuple[Column, ...]:
        return self.product.columns(self.model, self.has_ebv, "i" in self.psf_bands)

    def _part_settings(self) -> PartSettings:
        return PartSettings(
            plan=str(self.folder.plan),
            parts=str(self.folder.parts),
            model=str(self.model_folder),
            model_sha256=self.model.sha256,
            table=str(self.table_folder) if self.table_folder else None,
            device=self.device,
            batch_size=self.run.batch_size,
            product=self.product,
            resample=self.run.resample,
            made_with=self.made_with,
        )

    def _merge(self, parts: Sequence[Part], records: Sequence[PartRecord], state: str) -> None:
        model, folder = self.model, self.folder
        metadata = {
            SCHEMA_VERSION_KEY: str(SCHEMA_VERSION),
            "photoz_mmae.package_version": __version__,
            "photoz_mmae.model_name": model.name,
            "photoz_mmae.model_sha256": model.sha256,
            **self.product.metadata(model),
            SETTINGS_KEY: json.dumps(self.settings),
            "photoz_mmae.device": ", ".join(sorted({record.device for record in records})),
            **({} if self.run.reproducible else self._where_and_when(parts)),
            "photoz_mmae.flags": json.dumps({flag.name: int(flag) for flag in Flag}),
            "photoz_mmae.flags_without_redshift": str(int(NO_REDSHIFT)),
        }
        merge(
            [
                FinishedPart(folder.parts / record.file, record.rows, part.gone)
                for part, record in zip(parts, records, strict=True)
            ],
            self._own_columns(),
            metadata,
            f"{self.product.title} by photoz-mmae {__version__}, model {model.name}",
            folder.output,
            folder.problems,
            lambda file: folder.publishing(file, state),
            self.kept,
            self.publication.layout,
            self.product.naming,
        )

    def _where_and_when(self, parts: Sequence[Part]) -> dict[str, str]:
        """Return what differs between two runs over the same files elsewhere, or later."""
        return {
            "photoz_mmae.created": now(),
            "photoz_mmae.input_sha256": fingerprint(part.sources for part in parts),
        }


def _psf_bands(model: ModelInfo) -> list[str]:
    """Bands whose PSF the model or the catalogue has use for."""
    return [band for band in model.bands if model.seeing or band == "i"]
