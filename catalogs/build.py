"""Write what this folder and `docs/catalogue.md` hold: schema, sample, table of columns and flags.

    make catalogs

The sample is a catalogue of 100 mock galaxies made with the shipped model.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from photoz_mmae.catalog.naming import NAMINGS
from photoz_mmae.catalog.schema import SCHEMA_VERSION, Column, catalogue_schema
from photoz_mmae.cutouts.photometry import APERTURE_DIAMETER
from photoz_mmae.flags import CAUTION, CLEAN_CUT, DESCRIPTIONS, NO_REDSHIFT, Flag
from photoz_mmae.model.info import find_model, load_info

ROOT = Path(__file__).resolve().parents[1]
MODEL = "base"
ROWS = 100


def columns() -> tuple[Column, ...]:
    """Return every column that the shipped model's catalogue can have."""
    model = load_info(find_model(MODEL))
    return catalogue_schema(model, 4, "grid", APERTURE_DIAMETER, ebv=True, psf_fwhm_i=True)


def schema_json() -> str:
    """Return the text of `schema.json`."""
    return (
        json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "columns": [
                    {
                        "name": column.name,
                        "type": str(column.type),
                        "unit": column.unit,
                        "ucd": column.ucd,
                        "description": column.description,
                    }
                    for column in columns()
                ],
                "flags": [
                    {
                        "name": flag.name,
                        "bit": flag.bit_length() - 1,
                        "value": int(flag),
                        "redshift": not flag & NO_REDSHIFT,
                        "description": DESCRIPTIONS[flag],
                    }
                    for flag in Flag
                ],
            },
            indent=1,
        )
        + "\n"
    )


def page() -> str:
    """Return the text of `docs/catalogue.md`, its tables filled in."""
    column_rows = _column_rows(columns())
    flag_rows = "\n".join(
        f"| {flag.bit_length() - 1} | {int(flag)} | {flag.name} "
        f"| {'no' if flag & NO_REDSHIFT else 'yes'} | {DESCRIPTIONS[flag]} |"
        for flag in Flag
    )
    template = (ROOT / "catalogs" / "catalogue.md.in").read_text()
    for name, mask in (
        ("NO_REDSHIFT", NO_REDSHIFT),
        ("CAUTION", CAUTION),
        ("CLEAN_CUT", CLEAN_CUT),
        ("CLEAN_AND_THERE", CLEAN_CUT | Flag.SOURCE_GONE),
        ("NOTHING_ELSE", (NO_REDSHIFT | CAUTION) & ~Flag.UNCALIBRATED),
    ):
        template = template.replace(f"@{name}@", str(int(mask)))
    for name in ("hsc", "lsst"):
        rows = _column_rows(NAMINGS[name].columns)
        template = template.replace(f"@{name.upper()}@", rows)
    return template.replace("@COLUMNS@", column_rows).replace("@FLAGS@", flag_rows)


def _column_rows(columns: Iterable[Column]) -> str:
    return "\n".join(
        f"| `{c.name}` | {c.type} | {c.unit or ''} | `{c.ucd}` | {c.description} |" for c in columns
    )


def sample(target: Path) -> None:
    """Make the sample catalogue through the command line, as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        for words in (
            ["simulate", "-n", str(ROWS), "--seed", "100", "--cutouts", "cutouts"],
            [
                *("predict", "cutouts", "-o", "sample.parquet", "--model", MODEL),
                *("--catalog", "cutouts/truth.parquet"),
            ],
        ):
            command = [sys.executable, "-m", "photoz_mmae.cli.main", *words]
            subprocess.run(command, cwd=folder, check=True)
        content = (Path(folder) / "sample.parquet").read_bytes()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(target)


if __name__ == "__main__":
    (ROOT / "catalogs" / "schema.json").write_text(schema_json())
    (ROOT / "docs" / "catalogue.md").write_text(page())
    sample(ROOT / "catalogs" / "sample.parquet")
