"""Whether a finished catalogue is sound: by itself, and by its run folder where that is there."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from photoz_mmae.catalog.schema import SCHEMA_VERSION
from photoz_mmae.catalog.verify_schema import (
    column_problems,
    described_problems,
    text_lengths,
    votable_problems,
)
from photoz_mmae.catalog.verify_values import ValueCheck, without_nulls
from photoz_mmae.errors import InputError, OutputError
from photoz_mmae.flags import Flag, count_flags
from photoz_mmae.model.info import ModelInfo, find_model, load_info
from photoz_mmae.provenance import file_sha256
from photoz_mmae.survey_run.at_work import read_holder, state_of
from photoz_mmae.survey_run.merge import (
    FLAG_COUNTS_KEY,
    ID_TYPE_KEY,
    REPEATED_KEY,
    SAME_SKY_KEY,
    read_problems,
)
from photoz_mmae.survey_run.plan import read_sources
from photoz_mmae.survey_run.products import (
    Product,
    columns_of_settings,
    product_of_settings,
)
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.verification import Verification
from photoz_mmae.survey_run.verify_against import Against
from photoz_mmae.survey_run.verify_parts import PartsCheck, checksum_problems, pieces
from photoz_mmae.survey_run.verify_rows import SET_BY_MERGE
from photoz_mmae.survey_run.verify_sample import TOLERANCE, Sample
from photoz_mmae.survey_runs import VerifyRun

_OF_THE_RUN = ("checksum", "rows", "ids", "parts", "content")
_BEHIND_SCHEMA = (*_OF_THE_RUN, "values", "counts", "sample", "against")


def verify(run: VerifyRun) -> Verification:
    """Check a finished catalogue, or table of embeddings.

    Raises
    ------
    InputError
        There is no such file, or it is none that this program wrote.
    ModelError
        The model that it names is not there.
    """
    result = Verification(str(run.catalog))
    try:
        file = pq.ParquetFile(run.catalog.open("rb"))
    except OSError as error:
        raise InputError(f"{run.catalog}: {error.strerror or error}") from error
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        with run.catalog.open("rb") as content:
            if content.read(4) != b"PAR1":
                raise InputError(f"{run.catalog}: no Parquet file ({reason})") from error
        result.judge("readable", [f"it begins as Parquet and does not end so: {reason}"], "")
        result.skip(("model", "schema", *_BEHIND_SCHEMA), "the file cannot be read")
        return result
    with file:
        _Verify(run, file, result).go()
    return result


class _Verify:
    def __init__(self, run: VerifyRun, file: pq.ParquetFile, result: Verification) -> None:
        self.run = run
        self.file = file
        self.result = result
        self.schema: pa.Schema = file.schema_arrow
        self.rows = int(file.metadata.num_rows)
        self.said = {k.decode(): v.decode() for k, v in (self.schema.metadata or {}).items()}
        self.settings = _settings(run.catalog, self.said)
        self.model_folder = find_model(run.model or self.said["photoz_mmae.model_name"])
        self.model: ModelInfo = load_info(self.model_folder)
        self.product: Product = product_of_settings(self.settings)
        # As they are in the part files.
        self.columns = columns_of_settings(self.settings, self.model)
        self.folder = RunFolder(run.catalog)
        self.no_folder = self._no_folder()
        self.unreadable = ""

    def go(self) -> None:
        """Do all checks."""
        checksum = file_sha256(self.run.catalog)
        problems = self._column_problems()
        if problems:
            self._judge_model()
            self.result.judge("schema", problems, "")
            self.result.skip(("readable", *_BEHIND_SCHEMA), "other columns than a catalogue's")
            return
        problems = [
            *described_problems(self.schema, self.columns),
            *votable_problems(self.schema, self.rows),
        ]
        values = ValueCheck(self.columns, self.model, text_lengths(self.schema))
        parts = None
        if not self.no_folder:
            parts = PartsCheck(self.folder, self.columns, self.said["photoz_mmae.model_sha256"])
        sample = None
        if parts is not None and self.run.sample and self.rows:
            sample = Sample(self.folder, self.rows, self.run.sample, int(checksum[:16], 16))
        against, why_not_against = self._against()
        flags: Counter[str] = Counter()
        bad = 0
        for part, table, start in pieces(self._tables(), parts.parts if parts else ()):
            values.look_at(table, start)
            table = without_nulls(table)
            flags.update(count_flags(table["flags"].to_numpy()))
            bad += int(self.product.lacking(table).sum())
            base = str(Path.cwd())
            if part is not None and parts is not None and parts.is_finished(part):
                sources, base = read_sources(self.folder.plan, part.offset, part.length)
                is_sound = parts.look_at(part, sources, table, start)
                if sample is not None and is_sound:
                    sample.look_at(table, start, sources, base, parts.journal[part.number])
            if against is not None:
                against.look_at(table, base)
        values.finish()

        columns = f"{len(self.schema)} columns, units and UCDs, in Arrow's metadata and VOTable's"
        if self.unreadable:
            self.result.judge("readable", [self.unreadable], "")
            self._judge_model()
            self.result.judge("schema", problems, columns)
            self.result.skip(_BEHIND_SCHEMA, "not all of the file can be read")
            return
        self.result.judge("readable", [], f"{self.rows} rows to the last")
        self._judge_model()
        self.result.judge("schema", problems, columns)
        if parts is None:
            self.result.skip(_OF_THE_RUN, self.no_folder)
        else:
            self._judge_run(parts, checksum)
        self.result.judge(
            "values",
            [
                f"{says} in {breach.rows} rows, the first row {breach.first} "
                f"(object {breach.object_id})"
                for says, breach in values.breaches.items()
            ],
            f"{self.rows} rows",
        )
        self.result.judge(
            "counts",
            self._count_problems(flags, bad),
            f"{bad} rows without {self.product.thing}, flags as in the metadata",
        )
        self._judge_sample(sample)
        if against is None:
            self.result.skip(("against",), why_not_against)
        else:
            fine = f"{len(against.sources)} cutouts, one row each"
            self.result.judge("against", against.problems(), fine)

    def _column_problems(self) -> list[str]:
        kind = {"int64": pa.int64(), "string": pa.string()}.get(self.said.get(ID_TYPE_KEY, ""))
        if kind is None:
            return [f"the metadata has no {ID_TYPE_KEY}"]
        columns = [
            replace(column, type=kind) if column.name == "object_id" else column
            for column in self.columns
        ]
        kept = None if self.no_folder else len(list(self.folder.kept.glob("*.arrow")))
        return column_problems(self.schema, columns, kept)

    def _tables(self) -> Iterator[pa.Table]:
        for number in range(self.file.num_row_groups):
            try:
                yield self.file.read_row_group(number)
            except (OSError, pa.ArrowException) as error:
                reason = str(error).splitlines()[0]
                self.unreadable = f"row group {number} of {self.file.num_row_groups}: {reason}"
                return

    def _no_folder(self) -> str:
        """Say why nothing is compared with the run folder; '' where it is."""
        path = self.folder.path
        if not path.is_dir():
            return f"no run folder {path}"
        holder = read_holder(path)
        try:
            facts = self.folder.record.read()
        except OutputError as error:
            return str(error)
        if not facts:
            return f"{path} has no run.json"
        if holder is not None and state_of(holder, facts) in ("running", "unknown"):
            return f"process {holder.pid} on {holder.host} may be at work on it"
        return ""

    def _against(self) -> tuple[Against | None, str]:
        if not self.run.against:
            return None, "no --against CUTOUTS"
        for key in ("objects", "list"):
            if key in self.settings:
                return None, "which objects there are was said by a table or list, not by cutouts"
        return Against(self.run.against), ""

    def _judge_model(self) -> None:
        name, sha256 = (self.said[f"photoz_mmae.model_{what}"] for what in ("name", "sha256"))
        problems = []
        if (self.model.name, self.model.sha256) != (name, sha256):
            problems = [
                f"the catalogue is of {name} ({sha256[:12]}), {self.model_folder} holds "
                f"{self.model.name} ({self.model.sha256[:12]}); --model names another"
            ]
        self.result.judge("model", problems, f"{name} ({sha256[:12]})")

    def _judge_run(self, parts: PartsCheck, checksum: str) -> None:
        problems = checksum_problems(self.folder, self.run.catalog.stat().st_size, checksum)
        self.result.judge("checksum", problems, checksum)
        facts = self.folder.record.facts
        later = ""
        if facts.get("exit") not in (0, 3):
            later = f"; its last command did not finish (exit {facts.get('exit')})"
        problems = []
        if self.rows != parts.rows:
            problems = [f"{self.rows} rows, in the plan {parts.rows}{later}"]
        if facts["settings"] != self.settings:
            problems.append("the settings in its metadata are not those of the run folder")
        self.result.judge("rows", problems, f"{self.rows}, as in the plan")
        number = f"{len(parts.parts)} parts"
        for name, faults, fine in (
            ("ids", parts.ids, f"those of {number}, in the order of the plan"),
            ("parts", parts.files, f"{number} as in the journal"),
            ("content", parts.content, f"the values of {number}"),
        ):
            self.result.judge(name, [f"{faults}{later}"] if faults.count else [], fine)

    def _count_problems(self, flags: Counter[str], bad: int) -> list[str]:
        problems = []
        own = {str(flag.name) for flag in SET_BY_MERGE}
        counts = {name: number for name, number in flags.items() if name not in own}
        if counts != json.loads(self.said.get(FLAG_COUNTS_KEY, "{}")):
            problems.append(f"the metadata count other flags than {json.dumps(counts)}")
        for flag, key in ((Flag.DUPLICATE_ID, REPEATED_KEY), (Flag.DUPLICATE_SKY, SAME_SKY_KEY)):
            number, told = flags[str(flag.name)], self.said.get(key)
            if str(number) != told:
                problems.append(f"{number} rows have {flag.name}, the metadata say {told}")
        if not self.no_folder:
            listed = read_problems(self.folder.problems)
            if listed is None or listed.bad != bad:
                told = "is damaged or missing" if listed is None else f"has {listed.bad}"
                problems.append(
                    f"{bad} rows without {self.product.thing}, {self.folder.problems.name} {told}"
                )
        return problems

    def _judge_sample(self, sample: Sample | None) -> None:
        why = self.no_folder or "--sample 0"
        if sample is not None and self.model.sha256 != self.said["photoz_mmae.model_sha256"]:
            sample, why = None, "not the same model"
        elif sample is not None and sample.drawn == sample.passed_over:
            why = f"the cutouts of {sample.drawn} objects drawn are not there as they were"
            sample = None
        if sample is None:
            self.result.skip(("sample",), why)
            return
        made_on = self.said.get("photoz_mmae.device", "")
        has_gpu = torch.cuda.is_available() and made_on.startswith("cuda")
        device = self.run.device or ("auto" if has_gpu else "cpu")
        resample = bool(self.settings.get("resample", False))
        faults, largest, compared = sample.compare(
            self.model_folder, device, self.product, self.columns, resample
        )
        text = f"{compared} of {sample.drawn} objects predicted again"
        if sample.passed_over:
            text += f" ({sample.passed_over} whose cutouts are gone or changed)"
        text += f", largest difference {largest}"
        if not made_on.startswith(device.partition(":")[0]) and device != "auto":
            text += f"; made on {made_on}, compared on {device}"
        problems = [f"{text}, more than {TOLERANCE:g}: {faults}"] if faults.count else []
        self.result.judge("sample", problems, text)


def _settings(path: Path, said: dict[str, str]) -> dict[str, Any]:
    """Return the settings that a catalogue notes.

    Raises
    ------
    InputError
        It notes none that this version knows.
    """
    version = said.get("photoz_mmae.schema_version", "")
    if version.isdigit() and int(version) > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade photoz-mmae"
        )
    try:
        settings = json.loads(said["photoz_mmae.settings"])
        product_of_settings(settings)
        said["photoz_mmae.model_name"], said["photoz_mmae.model_sha256"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a catalogue of this program") from error
    return dict(settings)
