"""From part files to the catalogue: streamed in order, one row group in memory at a time.

Of all rows only ids and positions are held at once: they decide whether `object_id` is int64,
which ids occur more than once, and which lie at the same place of the sky.
"""

import ctypes
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photoz_mmae.catalog.header import Header
from photoz_mmae.catalog.layouts import Layout, one_file
from photoz_mmae.catalog.naming import STANDARD, Naming
from photoz_mmae.catalog.schema import Column
from photoz_mmae.catalog.writer import atomic_text
from photoz_mmae.errors import OutputError
from photoz_mmae.flags import NO_REDSHIFT, Flag, count_flags
from photoz_mmae.survey_run.kept_columns import KeptColumns
from photoz_mmae.survey_run.numbered_ids import numbered_ids, repeated
from photoz_mmae.survey_run.part import PROBLEM
from photoz_mmae.survey_run.same_sky import same_sky

EXAMPLES = 5
"""Rows without redshift that a summary shows."""

ID_TYPE_KEY = "photoz_mmae.object_id_type"
REPEATED_KEY = "photoz_mmae.rows_with_repeated_id"
SAME_SKY_KEY = "photoz_mmae.rows_with_same_sky"
NO_EBV_KEY = "photoz_mmae.rows_without_ebv"
FLAG_COUNTS_KEY = "photoz_mmae.flag_counts"
"""Keys of the catalogue's metadata."""


@dataclass(frozen=True)
class FinishedPart:
    """A part file, the number of its rows, and those whose cutouts are gone."""

    file: Path
    rows: int
    gone: tuple[int, ...]


@dataclass(frozen=True)
class Problems:
    """What the list of rows without redshift says.

    Attributes
    ----------
    bad, gone : int
        Number of rows without redshift, and of those among them whose cutouts are gone.
    flags : mapping of str to int
        How many of the rows have each of the flags of NO_REDSHIFT.
    examples : list of (str, str)
        Source and reason of the first few whose cutouts are there.
    """

    bad: int
    gone: int
    flags: Mapping[str, int]
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class _Texts:
    """What ids, positions, sources and flags of all rows say before any row is written."""

    id_type: pa.DataType
    repeated_ids: pa.Array
    same_sky: NDArray[np.bool_]
    flags: Counter[str]
    lengths: dict[str, int]


def merge(
    parts: Sequence[FinishedPart],
    columns: Sequence[Column],
    metadata: Mapping[str, str],
    description: str,
    output: Path,
    problems: Path,
    publishing: Callable[[Path], None],
    kept: KeptColumns | None = None,
    layout: Layout = one_file,
    naming: Naming = STANDARD,
) -> None:
    """Write the catalogue, and the list of its rows without redshift.

    Sets SOURCE_GONE, and on rows whose cutouts are there DUPLICATE_ID, where their id occurs more
    than once among these, and DUPLICATE_SKY, where another id of these is within 0.5".

    Parameters
    ----------
    parts : sequence of FinishedPart
        In order.
    columns : sequence of Column
        With `object_id` as string, as in the part files.
    metadata : mapping of str to str
        For the file, beside what is known here.
    description : str
        One sentence about the table.
    output, problems : Path
        The catalogue, and one JSON line for each row without redshift. Both are replaced
        atomically.
    publishing : callable
        Called with the finished catalogue just before it takes its name.
    kept : KeptColumns, optional
        Columns to be joined by id, behind those of `columns`.
    layout : Layout
        How the catalogue lies on the disk.
    naming : Naming
        What the columns of identity are called there.

    Raises
    ------
    OutputError
        They cannot be written, or a part file changed under our hands.
    """
    texts = _survey_texts(parts)
    _return_memory()
    rows = sum(part.rows for part in parts)
    columns = [
        replace(column, type=texts.id_type) if column.name == "object_id" else column
        for column in columns
    ]
    lengths = {naming.name(name): length for name, length in texts.lengths.items()}
    header = Header(
        columns=(*naming.published(columns), *(kept.columns if kept is not None else ())),
        rows=rows,
        metadata={
            **metadata,
            ID_TYPE_KEY: str(texts.id_type),
            REPEATED_KEY: str(texts.flags[str(Flag.DUPLICATE_ID.name)]),
            SAME_SKY_KEY: str(texts.flags[str(Flag.DUPLICATE_SKY.name)]),
            NO_EBV_KEY: str(texts.flags[str(Flag.NO_EBV.name)]),
            FLAG_COUNTS_KEY: json.dumps(texts.flags),
        },
        lengths=lengths | (kept.lengths if kept is not None else {}),
        description=description,
    )
    try:
        # The catalogue appears last: it says that the list is current.
        with layout(output, header, publishing) as write, atomic_text(problems) as list_of_bad:
            written = write(_final_rows(parts, texts, kept, header, naming, list_of_bad))
            if written != rows:
                raise OutputError(f"{output}: {rows} rows were expected, {written} came")
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error})") from error


def read_problems(path: Path) -> Problems | None:
    """Read the list of rows without redshift that `merge` wrote; None when lost or damaged."""
    gone = str(Flag.SOURCE_GONE.name)
    flags: Counter[str] = Counter()
    examples: list[tuple[str, str]] = []
    bad = 0
    try:
        with path.open() as lines:
            for line in lines:
                problem = json.loads(line)
                flags.update(problem["flags"])
                if gone not in problem["flags"] and len(examples) < EXAMPLES:
                    examples.append((problem["source"], problem["reason"]))
                bad += 1
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    reasons = [str(flag.name) for flag in NO_REDSHIFT]
    counts = {name: flags[name] for name in reasons if flags[name]}
    return Problems(bad, flags[gone], counts, examples)


def _survey_texts(parts: Sequence[FinishedPart]) -> _Texts:
    rows = sum(part.rows for part in parts)
    ra, dec, there = np.empty(rows), np.empty(rows), np.empty(rows, bool)
    lengths = {"object_id": 0, "source": 0}
    flags: Counter[str] = Counter()
    start = 0
    for part in parts:
        table = pq.read_table(part.file, columns=[*lengths, "ra", "dec", "flags"])
        if table.num_rows != part.rows:
            raise OutputError(
                f"{part.file}: {part.rows} rows expected, {table.num_rows} came: changed while it "
                "was in use; the same command makes it again"
            )
        flags.update(count_flags(table["flags"].to_numpy()))
        for name in lengths:
            longest = pc.max(pc.utf8_length(table[name])).as_py()
            lengths[name] = max(lengths[name], longest or 0)
        these = slice(start, start := start + part.rows)
        there[these] = _is_there(part)
        ra[these] = np.where(there[these], table["ra"].to_numpy(), np.nan)
        dec[these] = table["dec"].to_numpy()
    numbers, texts = numbered_ids([part.file for part in parts], rows)
    if texts is None:
        del lengths["object_id"]
    again, repeated_rows = repeated(numbers[there])
    same = same_sky(ra, dec, numbers)
    for flag, number in (
        (Flag.DUPLICATE_ID, repeated_rows),
        (Flag.DUPLICATE_SKY, np.count_nonzero(same)),
        (Flag.SOURCE_GONE, np.count_nonzero(~there)),
    ):
        if number:
            flags[str(flag.name)] = int(number)
    ids = pa.array(again) if texts is None else texts.take(pa.array(again))
    return _Texts(ids.type, ids, same, flags, lengths)


def _return_memory() -> None:
    """Give back what was freed, which glibc may keep: what comes next would come on top of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _is_there(part: FinishedPart) -> NDArray[np.bool_]:
    there = np.ones(part.rows, bool)
    there[list(part.gone)] = False
    return there


def _final_rows(
    parts: Sequence[FinishedPart],
    texts: _Texts,
    kept: KeptColumns | None,
    header: Header,
    naming: Naming,
    list_of_bad: TextIO,
) -> Iterator[pa.Table]:
    schema = header.schema(header.rows)
    start = 0
    for part in parts:
        table = pq.read_table(part.file)
        joined = kept.of(table["object_id"].to_pylist()) if kept is not None else []
        ids = table["object_id"].cast(texts.id_type)
        flags = table["flags"].to_numpy().copy()
        there = _is_there(part)
        again = pc.is_in(ids, value_set=texts.repeated_ids).to_numpy()
        flags[again & there] |= Flag.DUPLICATE_ID
        flags[texts.same_sky[start : start + len(flags)]] |= Flag.DUPLICATE_SKY
        flags[~there] |= Flag.SOURCE_GONE
        start += len(flags)
        table = table.set_column(table.schema.get_field_index("object_id"), "object_id", ids)
        table = table.set_column(table.schema.get_field_index("flags"), "flags", [flags])
        _note_bad_rows(table, list_of_bad)
        table = table.rename_columns([naming.name(name) for name in table.schema.names])
        # What is kept may have the name of a column of the part files alone.
        table = table.select(schema.names[: len(schema) - len(joined)])
        for name, values in zip(schema.names[len(schema) - len(joined) :], joined, strict=True):
            table = table.append_column(name, values)
        yield table.cast(schema)


def _note_bad_rows(table: pa.Table, list_of_bad: TextIO) -> None:
    """Write a line for each row without redshift or embedding."""
    bad = table.filter(pc.is_valid(table[PROBLEM]))
    for row in bad.select(["source", "object_id", "flags", PROBLEM]).to_pylist():
        problem = {
            "source": row["source"],
            "object_id": row["object_id"],
            "flags": [str(flag.name) for flag in Flag if flag & row["flags"]],
            "reason": row[PROBLEM],
        }
        list_of_bad.write(json.dumps(problem) + "\n")
