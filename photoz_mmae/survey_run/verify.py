"""Whether a finished catalogue is sound: by itself, and by its run folder where that is there."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from photoz_mmae.catalog.layouts import checksum, part_name, size
from photoz_mmae.catalog.opened import UNREADABLE, OpenedCatalogue, first_line
from photoz_mmae.catalog.verify_files import (
    all_column_problems,
    folder_problems,
    header_lengths,
    header_problems,
    part_number,
)
from photoz_mmae.catalog.verify_hats import hats_problems
from photoz_mmae.catalog.verify_rows import own_columns
from photoz_mmae.catalog.verify_values import ValueCheck
from photoz_mmae.flags import count_flags
from photoz_mmae.model.info import ModelInfo, find_model, load_info
from photoz_mmae.survey_run.merge import ID_TYPE_KEY
from photoz_mmae.survey_run.plan import Part, read_sources
from photoz_mmae.survey_run.products import (
    Product,
    columns_of_settings,
    product_of_settings,
)
from photoz_mmae.survey_run.run_folder import RunFolder
from photoz_mmae.survey_run.verification import Verification
from photoz_mmae.survey_run.verify_against import Against
from photoz_mmae.survey_run.verify_parts import PartsCheck, checksum_problems, pieces
from photoz_mmae.survey_run.verify_sample import Sample
from photoz_mmae.survey_run.verify_shuffled import Shuffled
from photoz_mmae.survey_run.verify_told import (
    count_problems,
    judge_sample,
    model_problems,
    settings_of,
    why_no_folder,
)
from photoz_mmae.survey_runs import VerifyRun
from photoz_mmae.words import count

_OF_THE_RUN = ("checksum", "rows", "ids", "parts", "content")
_BEHIND_SCHEMA = (*_OF_THE_RUN, "values", "counts", "sample", "against")


def verify(run: VerifyRun) -> Verification:
    """Check a finished catalogue, or table of embeddings: a file or a folder.

    Raises
    ------
    InputError
        There is no such thing, or it is none that this program wrote.
    ModelError
        The model that it names is not there.
    """
    result = Verification(str(run.catalog))
    catalogue = OpenedCatalogue(run.catalog)
    if catalogue.damaged and not catalogue.is_readable:
        result.judge("readable", catalogue.damaged, "")
        result.skip(("files", "model", "schema", *_BEHIND_SCHEMA), "nothing of it can be read")
        return result
    _Verify(run, catalogue, result).go()
    return result


@dataclass
class _Checks:
    """What looks at the rows while they go by."""

    sha256: str
    values: ValueCheck
    against: Against | None
    why_not_against: str
    parts: PartsCheck | None = None
    shuffled: Shuffled | None = None
    sample: Sample | None = None


class _Verify:
    def __init__(self, run: VerifyRun, catalogue: OpenedCatalogue, result: Verification) -> None:
        self.run = run
        self.catalogue = catalogue
        self.result = result
        self.settings = settings_of(catalogue)
        self.model_folder = find_model(run.model or catalogue.said["photoz_mmae.model_name"])
        self.model: ModelInfo = load_info(self.model_folder)
        self.product: Product = product_of_settings(self.settings)
        self.naming = self.product.naming
        # As they are in the part files.
        self.columns = columns_of_settings(self.settings, self.model)
        self.folder = RunFolder(run.catalog)
        self.no_folder = why_no_folder(self.folder)
        self.unreadable = list(catalogue.damaged)
        self.flags: Counter[str] = Counter()
        self.bad = 0

    def go(self) -> None:
        """Do all checks."""
        catalogue, result = self.catalogue, self.result
        others = self._column_problems()
        problems = others or header_problems(catalogue, self.naming.published(self.columns))
        checks = None if others or self.unreadable else self._look_at_rows()
        if others and not self.unreadable:
            result.skip(("readable",), "other columns than a catalogue's")
        else:
            result.judge("readable", self.unreadable, f"{count(catalogue.rows, 'row')} to the last")
        self._judge_files()
        columns = len(catalogue.files.schema) - int(catalogue.is_hats)
        fine = f"{columns} columns, units and UCDs, in Arrow's metadata and VOTable's"
        result.judge("schema", problems, fine)
        if others:
            result.skip(_BEHIND_SCHEMA, "other columns than a catalogue's")
        elif checks is None or self.unreadable:
            result.skip(_BEHIND_SCHEMA, "not all of it can be read")
        else:
            self._judge_rows(checks)

    def _look_at_rows(self) -> _Checks:
        """Let all rows go by once."""
        checks = self._begin()
        parts, sample, against = checks.parts, checks.sample, checks.against
        for part, table, start, where in self._pieces(parts):
            checks.values.look_at(table, start)
            table = own_columns(table, self.columns)
            self.flags.update(count_flags(table["flags"].to_numpy()))
            self.bad += int(self.product.lacking(table).sum())
            if checks.shuffled is not None:
                checks.shuffled.look_at(table)
                continue
            base = str(Path.cwd())
            if part is not None and parts is not None and parts.is_finished(part):
                sources, base = read_sources(self.folder.plan, part.offset, part.length)
                is_sound = parts.look_at(part, sources, table, where)
                if sample is not None and is_sound:
                    rows = sample.drawn_from(start, len(table))
                    planned = [sources[row] for row in rows.tolist()]
                    here, record = table.take(pa.array(rows)), parts.journal[part.number]
                    sample.look_at(here, rows.tolist(), planned, base, record)
            if against is not None:
                against.look_at(table, base)
        checks.values.finish()
        if checks.shuffled is not None and not self.unreadable:
            checks.shuffled.compare(sample, against)
        return checks

    def _begin(self) -> _Checks:
        catalogue = self.catalogue
        sha256 = checksum(self.run.catalog)
        lengths = header_lengths(catalogue)
        values = ValueCheck(self.columns, self.naming, self.model, lengths)
        checks = _Checks(sha256, values, *self._against())
        if not self.no_folder:
            model_sha256 = catalogue.said["photoz_mmae.model_sha256"]
            checks.parts = PartsCheck(self.folder, self.columns, self.naming, model_sha256)
            if self.run.sample and catalogue.rows:
                seed = int(sha256[:16], 16)
                checks.sample = Sample(self.folder, catalogue.rows, self.run.sample, seed)
            if catalogue.is_hats:
                checks.shuffled = Shuffled(catalogue, checks.parts)
        return checks

    def _judge_rows(self, checks: _Checks) -> None:
        catalogue, result = self.catalogue, self.result
        if checks.parts is None:
            result.skip(_OF_THE_RUN, self.no_folder)
        else:
            self._judge_run(checks.parts, checks.shuffled, checks.sha256)
        result.judge(
            "values",
            [
                f"{says} in {count(breach.rows, 'row')}, the first {catalogue.place(breach.first)} "
                f"(object {breach.object_id})"
                for says, breach in checks.values.breaches.items()
            ],
            count(catalogue.rows, "row"),
        )
        problems_file = None if self.no_folder else self.folder.problems
        result.judge(
            "counts",
            count_problems(catalogue.said, self.flags, self.bad, self.product, problems_file),
            f"{count(self.bad, 'row')} without {self.product.thing}, flags as in the metadata",
        )
        why, model = self.no_folder or "--sample 0", (self.model_folder, self.model)
        device, columns = self.run.device, self.columns
        judge_sample(result, checks.sample, why, catalogue.said, *model, device, columns)
        against, why = checks.against, checks.why_not_against
        if against is not None and checks.shuffled is not None and checks.shuffled.lost:
            lost = count(checks.shuffled.lost, "row is", "rows are")
            against, why = None, f"{lost} of parts whose files are lost"
        if against is None:
            result.skip(("against",), why)
        else:
            fine = f"{count(len(against.sources), 'cutout')}, one row each"
            result.judge("against", against.problems(), fine)

    def _pieces(self, parts: PartsCheck | None) -> Iterator[tuple[Part | None, pa.Table, int, str]]:
        """Cut the rows into parts of the plan, where they are in its order.

        Yields
        ------
        part, rows, start, where : Part or None, pyarrow.Table, int, str
            The part, None where they are of none or it is not known; the number of the first
            row; where they are, in words.
        """
        catalogue = self.catalogue
        planned = parts.parts if parts is not None else []
        if not catalogue.is_folder:
            for part, table, start in pieces(self._tables(0), planned):
                last = start + len(table) - 1
                where = f"row {start}" if last == start else f"rows {start} to {last}"
                yield part, table, start, where
            return
        start = 0
        lost = set(range(len(planned)))
        for number, path in enumerate(catalogue.files.paths):
            if catalogue.is_hats:
                for table in self._tables(number):
                    yield None, table, start, path.name
                    start += len(table)
            elif tables := list(self._tables(number)):
                table, place = pa.concat_tables(tables), part_number(path.name)
                yield planned[place] if place in lost else None, table, start, path.name
                start += len(table)
                lost.discard(place)
                if parts is not None and place >= len(planned):
                    parts.ids.note(f"{path.name} is of no part of the plan")
        if parts is not None and not catalogue.is_hats:
            for place in sorted(lost):
                parts.ids.note(f"part {planned[place].number} is not there: no {part_name(place)}")

    def _tables(self, number: int) -> Iterator[pa.Table]:
        rows = 0
        try:
            for table in self.catalogue.tables(number):
                yield table
                rows += len(table)
        except UNREADABLE as error:
            path = self.catalogue.files.paths[number]
            name = f"{self.catalogue.name(path)}: " if self.catalogue.is_folder else ""
            self.unreadable.append(f"{name}rows from {rows} on: {first_line(error)}")

    def _column_problems(self) -> list[str]:
        kinds = {"int64": pa.int64(), "string": pa.string()}
        kind = kinds.get(self.catalogue.said.get(ID_TYPE_KEY, ""))
        if kind is None:
            return [f"the metadata has no {ID_TYPE_KEY}"]
        columns = [
            replace(column, type=kind) if column.name == "object_id" else column
            for column in self.columns
        ]
        # A command that did not finish may have had another --keep than the catalogue.
        is_of_it = not self.no_folder and self.folder.record.facts.get("exit") in (0, 3)
        kept = len(list(self.folder.kept.glob("*.arrow"))) if is_of_it else None
        return all_column_problems(self.catalogue, self.naming.published(columns), kept)

    def _against(self) -> tuple[Against | None, str]:
        if not self.run.against:
            return None, "no --against CUTOUTS"
        for key in ("objects", "list"):
            if key in self.settings:
                return None, "which objects there are was said by a table or list, not by cutouts"
        return Against(self.run.against), ""

    def _judge_files(self) -> None:
        """Judge the files as such, and the model."""
        catalogue, said = self.catalogue, self.catalogue.said
        text, problems = "one file", []
        if catalogue.is_folder:
            text = f"{count(len(catalogue.files.paths), 'file')} of one catalogue"
            problems = folder_problems(catalogue)
        if catalogue.is_hats:
            of_hats, unchecked = hats_problems(catalogue, self.naming)
            problems += of_hats
            text += f", sorted by pixels as its lists say{unchecked}"
        self.result.judge("files", problems, text)
        name, sha256 = said["photoz_mmae.model_name"], said["photoz_mmae.model_sha256"]
        problems = model_problems(name, sha256, self.model_folder, self.model)
        self.result.judge("model", problems, f"{name} ({sha256[:12]})")

    def _judge_run(self, parts: PartsCheck, shuffled: Shuffled | None, sha256: str) -> None:
        path = self.run.catalog
        self.result.judge("checksum", checksum_problems(self.folder, size(path), sha256), sha256)
        facts = self.folder.record.facts
        later = ""
        if facts.get("exit") not in (0, 3):
            later = f"; its last command did not finish (exit {facts.get('exit')})"
        problems = []
        if self.catalogue.rows != parts.rows:
            problems = [f"{count(self.catalogue.rows, 'row')}, in the plan {parts.rows}{later}"]
        if facts["settings"] != self.settings:
            problems.append("the settings in its metadata are not those of the run folder")
        self.result.judge("rows", problems, f"{self.catalogue.rows}, as in the plan")
        number = count(len(parts.parts), "part")
        order = "in the order of the plan" if shuffled is None else "in any order"
        if shuffled is not None and shuffled.lost:
            number += f" (but for {count(shuffled.lost, 'row')} whose part files are lost)"
        for name, faults, fine in (
            ("ids", parts.ids, f"those of {number}, {order}"),
            ("parts", parts.files, f"{number} as in the journal"),
            ("content", parts.content, f"the values of {number}"),
        ):
            self.result.judge(name, [f"{faults}{later}"] if faults.count else [], fine)
