"""The columns of the catalogue: there when real, each with type, unit, UCD and description."""

import json

import pyarrow as pa
import pytest
from astropy import units
from astropy.io.votable.ucd import check_ucd

from photoz_mmae.catalog.schema import arrow_schema, catalogue_schema
from photoz_mmae.redshift.pdf import LEVELS


def names(info, masks, pdf):
    return [
        column.name for column in catalogue_schema(info, masks, pdf, 2.0, ebv=True, psf_fwhm_i=True)
    ]


def test_every_column_explains_itself(tiny_info):
    columns = catalogue_schema(tiny_info, 4, "grid", 2.0, ebv=True, psf_fwhm_i=True)
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert check_ucd(column.ucd, check_controlled_vocabulary=True), column
        assert column.description
        if column.unit:
            units.Unit(column.unit, format="vounit")


def test_columns_are_there_only_when_real(tiny_info, make_info):
    everything = names(tiny_info, 4, "grid")
    without_table = [c.name for c in catalogue_schema(tiny_info, 4, "grid", 2.0, ebv=False)]
    assert set(everything) - set(without_table) == {"ebv", "psf_fwhm_i"}
    assert {"z_pdf", "z_quantiles", "z_std_epistemic", "spec_d4000_err"} <= set(everything)
    assert set(everything) - set(names(tiny_info, 4, "quantiles")) == {"z_pdf"}
    assert set(everything) - set(names(tiny_info, 4, "none")) == {"z_pdf", "z_quantiles"}
    # One pass has no spread.
    for masks in (0, 1):
        assert set(everything) - set(names(tiny_info, masks, "grid")) == {
            "z_std_epistemic",
            "spec_slope_err",
            "spec_d4000_err",
        }
    point = make_info(z_edges=None, wave=None)
    assert [n for n in names(point, 2, "grid") if n[:2] in ("z_", "sp")] == [
        "z_best",
        "z_std_epistemic",
    ]
    no_i = make_info(bands=("g", "r"))
    assert not {"mag_i", "snr_i", "flux_i"} & set(names(no_i, 2, "none"))


@pytest.mark.parametrize("name", ["z_quantiles", "z_pdf"])
def test_lists_have_their_length(tiny_info, name):
    schema = arrow_schema(catalogue_schema(tiny_info, 4, "grid", 2.0, ebv=True, psf_fwhm_i=True))
    length = {"z_quantiles": len(LEVELS), "z_pdf": len(tiny_info.z_edges) - 1}[name]
    assert schema.field(name).type == pa.list_(pa.float32(), length)


def test_arrow_fields_carry_the_same(tiny_info):
    field = arrow_schema(catalogue_schema(tiny_info, 4, "grid", 2.5, ebv=True)).field("flux_r")
    metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
    assert metadata["unit"] == "nJy"
    assert metadata["ucd"] == "phot.flux.density;em.opt.R"
    assert '2.5" diameter' in metadata["description"]
    json.dumps(metadata)
