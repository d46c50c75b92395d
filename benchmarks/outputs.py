"""Time, memory and disk of each form that a catalogue comes out in.

    python benchmarks/outputs.py [--rows 1000000] [--workers 1]

Mock rows (the shipped model's columns, ids of 17 digits, an eighth of the sky) lie in part files of
8,192, and are merged into one file, a folder of parts and a HATS catalogue; then an ensemble for qp
is made of the file. Each in a process of its own; the memory is that of this process alone.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.catalog.hats import hats_layout
from photoz_mmae.catalog.layouts import folder_of_parts, one_file, read_metadata
from photoz_mmae.catalog.qp import write_ensemble
from photoz_mmae.catalog.schema import arrow_schema
from photoz_mmae.model.info import find_model, load_info
from photoz_mmae.survey_run.cluster import dask_client
from photoz_mmae.survey_run.merge import FinishedPart, merge
from photoz_mmae.survey_run.part import PROBLEM
from photoz_mmae.survey_run.products import Redshifts

PART = 8192
FIRST_ID = 40_000_000_000_000_000
MODEL = load_info(find_model("base"))
PRODUCT = Redshifts(4, "quantiles")
COLUMNS = PRODUCT.columns(MODEL, ebv=True, psf_fwhm_i=True)


def write_parts(folder: Path, rows: int) -> None:
    """Write the part files."""
    schema = arrow_schema(COLUMNS)
    for number, start in enumerate(range(0, rows, PART)):
        rng = np.random.default_rng(number)
        n = min(PART, rows - start)
        arrays = []
        for field in schema:
            if field.name == "object_id":
                arrays.append(pa.array([str(FIRST_ID + i) for i in range(start, start + n)]))
            elif field.name == "source":
                arrays.append(
                    pa.array([f"cutouts/{FIRST_ID + i}.fits" for i in range(start, start + n)])
                )
            elif field.name in ("ra", "dec"):
                arrays.append(pa.array(rng.uniform(0, 90, n)))
            elif pa.types.is_fixed_size_list(field.type):
                values = np.sort(rng.gamma(2, 0.4, (n, field.type.list_size)).astype(np.float32))
                arrays.append(
                    pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=field.type)
                )
            elif pa.types.is_integer(field.type):
                arrays.append(pa.array(np.zeros(n)).cast(field.type))
            else:
                arrays.append(pa.array(rng.gamma(2, 0.4, n).astype(np.float32)))
        table = pa.table(arrays, schema=schema)
        table = table.append_column(PROBLEM, pa.nulls(n, pa.string()))
        pq.write_table(table, folder / f"part-{number:06d}.parquet")


def make(form: str, folder: Path, workers: int) -> None:
    """Write the catalogue in one form."""
    output = folder / ("catalog.parquet" if form == "one file" else form)
    if form == "qp":
        file = folder / "catalog.parquet"
        write_ensemble(output, [file], file.name, "object_id", read_metadata(file))
        return
    files = sorted((folder / "input").iterdir())
    parts = [FinishedPart(file, pq.read_metadata(file).num_rows, ()) for file in files]
    scratch = folder / "scratch"
    hats = hats_layout(
        scratch / "hats",
        "object_id",
        "ra",
        "dec",
        lambda: dask_client(None, workers, scratch / "dask"),
    )
    layout = {"one file": one_file, "parts": folder_of_parts, "hats": hats}[form]
    metadata = {"photoz_mmae.mock": "1", **PRODUCT.metadata(MODEL)}
    problems = folder / "problems"
    merge(parts, COLUMNS, metadata, "mock", output, problems, lambda _: None, layout=layout)


def measured(work: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Seconds and MiB that work takes in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # its processes may have children
        return pool.submit(_measure, work, arguments).result()


def _measure(work: Callable[..., None], arguments: tuple[object, ...]) -> tuple[float, float]:
    start = time.perf_counter()
    work(*arguments)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _size(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the forms of a catalogue.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input").mkdir()
        write_parts(folder / "input", options.rows)
        print(f"{options.rows:,} rows in {-(-options.rows // PART)} parts")
        print("| form | s | MiB | MB on disk |\n|---|---|---|---|")
        for form in ("one file", "parts", "hats", "qp"):
            seconds, peak = measured(make, form, folder, options.workers)
            path = folder / ("catalog.parquet" if form == "one file" else form)
            print(f"| {form} | {seconds:.0f} | {peak:,.0f} | {_size(path):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
