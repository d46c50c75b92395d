"""Time, memory and disk that a table of objects (`predict --catalog`) costs.

    python benchmarks/object_table.py [--rows 10000000]

A Parquet table of ids of 17 digits, out of order, with E(B-V), position and a tract that is kept
(`--keep`), is read, sorted and written as `predict` does once, then 8,192 ids, those of a part, are
looked up as a worker and the merge do.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.survey_run.kept_columns import keep_columns, stored_types
from photoz_mmae.survey_run.object_table import CatalogFile, ObjectTable, read_objects
from photoz_mmae.survey_runs import PredictRun

FIRST_ID = 40_000_000_000_000_000
PART = 8192


def write(path: Path, rows: int) -> None:
    """Write the table in pieces, so that making it takes no memory that counts."""
    rng = np.random.default_rng(0)
    step = 7919  # a prime: every row once, far from its neighbours
    kinds = {"object_id": pa.int64(), "ebv": pa.float32(), "ra": pa.float64(), "dec": pa.float64()}
    schema = pa.schema([*kinds.items(), ("tract", pa.int32())])
    with pq.ParquetWriter(path, schema) as file:
        for numbers in np.array_split(np.arange(rows), max(rows // 1_000_000, 1)):
            ids = FIRST_ID + numbers * step % rows
            ebv = rng.uniform(0, 0.3, len(ids)).astype(np.float32)
            ra, dec = rng.uniform(0, 360, len(ids)), rng.uniform(-10, 10, len(ids))
            tract = rng.integers(8000, 18000, len(ids), np.int32)
            file.write_table(pa.table([ids, ebv, ra, dec, tract], schema=schema))


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a table of objects.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.parquet"
        write(path, rows)
        start = time.perf_counter()
        run = PredictRun(output=path, catalog=path, cutouts=("",), keep=("tract",))
        file = CatalogFile(run)
        kinds = stored_types(file.table, run.keep, ())
        read = read_objects(file)
        saved = Path(folder) / "saved"
        read.objects.save(saved)
        objects, order = ObjectTable.open(saved), read.rows
        del read
        kept = keep_columns(file.table, kinds, objects, order, Path(folder) / "kept")
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        files = [*saved.iterdir(), *(Path(folder) / "kept").iterdir()]
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"{rows:,} rows: read, sorted, written in {seconds:.1f} s; at most {peak:,.0f} MiB")
        print(f"in the run folder {size:,.0f} MB")
        asked = np.random.default_rng(1).integers(FIRST_ID, FIRST_ID + rows, PART).astype(str)
        start = time.perf_counter()
        found = np.isfinite(objects.ebv_of(asked.tolist())).sum()
        print(f"{found:,} ids looked up in {1000 * (time.perf_counter() - start):.0f} ms")
        start = time.perf_counter()
        (tract,) = kept.of(asked.tolist())
        print(f"{len(tract):,} kept values in {1000 * (time.perf_counter() - start):.0f} ms")


if __name__ == "__main__":
    main()
