"""The schema and the page of columns in the repository are those of the program."""

import runpy
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from photoz_mmae.flags import CAUTION, CLEAN_CUT, DESCRIPTIONS, NO_REDSHIFT, Flag

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build():
    return runpy.run_path(str(ROOT / "catalogs" / "build.py"))


def test_schema_json_is_current(build):
    assert (ROOT / "catalogs" / "schema.json").read_text() == build["schema_json"](), (
        "run `make catalogs`"
    )


def test_page_of_columns_is_current(build):
    assert (ROOT / "docs" / "catalogue.md").read_text() == build["page"](), "run `make catalogs`"


def test_sample_has_the_documented_columns(build):
    table = pq.read_table(ROOT / "catalogs" / "sample.parquet")
    assert table.num_rows == 100
    documented = {column.name: column for column in build["columns"]()}
    del documented["z_pdf"]
    assert set(table.column_names) == set(documented)
    for name, column in documented.items():
        assert name == "object_id" or table.schema.field(name).type == column.type


def test_every_flag_is_one_bit_with_a_description():
    assert set(DESCRIPTIONS) == set(Flag)
    assert all(int(flag).bit_count() == 1 for flag in Flag)
    assert int(NO_REDSHIFT | CAUTION) == sum(Flag) < 2**31
    assert not NO_REDSHIFT & CAUTION
    assert CLEAN_CUT & NO_REDSHIFT == NO_REDSHIFT
    assert not CLEAN_CUT & Flag.UNCALIBRATED
