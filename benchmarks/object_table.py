"""Time, memory and disk that a table of objects (`predict --catalog`) costs.

    python benchmarks/object_table.py [--rows 10000000]

A Parquet table of ids of 17 digits, out of order, is read, sorted and written as `predict` does
once, then 8,192 ids, those of a part, are looked up as a worker does.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photoz_mmae.runs import PredictRun
from photoz_mmae.survey_run.object_table import CatalogFile, ObjectTable, read_objects

FIRST_ID = 40_000_000_000_000_000
PART = 8192


def write(path: Path, rows: int) -> None:
    """Write the table in pieces, so that making it takes no memory that counts."""
    rng = np.random.default_rng(0)
    step = 7919  # a prime: every row once, far from its neighbours
    schema = pa.schema([("object_id", pa.int64()), ("ebv", pa.float32())])
    with pq.ParquetWriter(path, schema) as file:
        for numbers in np.array_split(np.arange(rows), max(rows // 1_000_000, 1)):
            ids = FIRST_ID + numbers * step % rows
            ebv = rng.uniform(0, 0.3, len(ids)).astype(np.float32)
            file.write_table(pa.table([ids, ebv], schema=schema))


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a table of objects.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.parquet"
        write(path, rows)
        start = time.perf_counter()
        table = read_objects(CatalogFile(PredictRun(output=path, catalog=path, cutouts=("",))))
        table.save(Path(folder) / "saved")
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = sum(file.stat().st_size for file in (Path(folder) / "saved").iterdir()) / 1e6
        print(f"{rows:,} rows: read, sorted, written in {seconds:.1f} s; at most {peak:,.0f} MiB")
        print(f"in the run folder {size:,.0f} MB")
        worker = ObjectTable.open(Path(folder) / "saved")
        asked = np.random.default_rng(1).integers(FIRST_ID, FIRST_ID + rows, PART).astype(str)
        start = time.perf_counter()
        found = np.isfinite(worker.ebv_of(asked.tolist())).sum()
        print(f"{found:,} ids looked up in {1000 * (time.perf_counter() - start):.0f} ms")


if __name__ == "__main__":
    main()
