"""A list of sources in little memory is what a list of them is."""

import math

from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.source_list import SourceList

PATHS = st.builds("{}{}.fits".format, st.sampled_from(["", "a/", "b/c/", "/d/"]), st.integers(0, 3))
SOURCES = st.builds(
    Source,
    files=st.lists(PATHS, min_size=1, max_size=3).map(tuple),
    size=st.integers(0, 2**40),
    mtime_ns=st.integers(0, 2**62),
    kind=st.sampled_from(["cutout", "shard", "coadd", "absent"]),
    row=st.integers(-1, 5),
    bands=st.sampled_from(["", "grizy"]),
    object_id=st.sampled_from([None, "", "7"]),
    ra=st.sampled_from([math.nan, 0.0, 150.5]),
    dec=st.sampled_from([math.nan, -2.5]),
)


@given(st.lists(SOURCES))
def test_source_list_is_a_list(sources: list[Source]) -> None:
    packed = SourceList(sources)
    assert [packed[k] for k in range(len(sources))] == sources
    assert list(packed.identities()) == [source.identity for source in sources]
    assert [index for index, *_ in packed.named()] == [
        index
        for index, source in enumerate(sources)
        if source.object_id is not None and source.kind in ("cutout", "absent")
    ]
    assert list(packed.on_coadds()) == [
        (index, source.object_id or "")
        for index, source in enumerate(sources)
        if source.kind == "coadd"
    ]
