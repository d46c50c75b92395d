"""Files joined with a request list: nothing lost, nothing twice, whatever was asked and came."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from photoz_mmae.cutouts.request_list import answers, read_request_list
from photoz_mmae.cutouts.requested import join_list
from photoz_mmae.cutouts.source import Source
from photoz_mmae.cutouts.source_list import SourceList
from photoz_mmae.errors import InputError

# Lines: which of a few targets (10" apart), moved by less than 0.25", in which band.
LINES = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-0.1, 0.1), st.sampled_from("GRIZY")),
    min_size=1,
    max_size=12,
)


def test_what_a_name_says() -> None:
    assert answers("12-cutout-HSC-I2-8279-pdr2_wide.fits") == (12, "HSC-I2")
    assert answers("3-cutout-NB0921-9813-s20a_wide.fits.gz") == (3, "NB0921")
    assert answers("cutout-HSC-I-8279-pdr2_wide.fits") is None
    assert answers("12.fits") is None


@settings(deadline=None)
@given(LINES, st.data())
def test_every_file_and_every_line_is_accounted_for(
    lines: list[tuple[int, float, str]], data: st.DataObject
) -> None:
    text = "".join(
        f"{150 + 10 * target / 3600 + move / 3600:.9f} HSC-{band} 2.0\n"
        for target, move, band in lines
    )
    came = sorted(data.draw(st.sets(st.sampled_from(range(len(lines))), min_size=1)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.txt"
        path.write_text(f"#? ra filter dec\n{text}")
        asked = read_request_list(path, {})
        files = {n: f"{folder}/{n + 2}-cutout-HSC-{lines[n][2]}-1-x.fits" for n in came}
        found = [Source((file,), 1 + n, 1 + n) for n, file in files.items()]
        found.append(Source((f"{folder}/other.fits",), 1, 1))
        joined = join_list(SourceList(data.draw(st.permutations(found))), asked)

    assert joined.answers == len(came)
    assert joined.unanswered == len(lines) - len(came)
    assert joined.unlisted == 1
    *sources, other = joined.sources
    assert (other.files, other.object_id) == ((f"{folder}/other.fits",), None)
    seen: list[int] = []
    whose: dict[int, str | None] = {}
    for source in sources:
        if source.kind == "absent":
            first = source.row - 2
            members = [n for n, line in enumerate(lines) if line[0] == lines[first][0]]
            assert not set(members) & set(came)
            assert first == min(members)
            seen += members
            continue
        numbers = [int(Path(file).name.split("-")[0]) - 2 for file in source.files]
        assert numbers == sorted(numbers)
        assert source.bands == "".join(lines[n][2].lower() for n in numbers)
        assert len(set(source.bands)) == len(numbers)
        assert len({lines[n][0] for n in numbers}) == 1
        assert source.size == sum(1 + n for n in numbers)
        target = lines[numbers[0]][0]
        assert whose.setdefault(target, source.object_id) == source.object_id
        seen += numbers
    # A line is in one source, or its target has other files.
    assert len(seen) == len(set(seen))
    for n, (target, _, _) in enumerate(lines):
        assert n in seen or (n not in came and target in whose)
    # One object per target, or as many as the most files of one of its bands.
    for target in {target for target, _, _ in lines}:
        bands = [lines[n][2] for n in came if lines[n][0] == target]
        objects = sum(lines[s.row - 2][0] == target for s in sources if s.kind == "absent")
        objects += sum(
            lines[int(Path(s.files[0]).name.split("-")[0]) - 2][0] == target
            for s in sources
            if s.kind == "cutout"
        )
        assert objects == max([bands.count(band) for band in bands], default=1)


def test_ids_keep_close_objects_apart(tmp_path: Path) -> None:
    table = tmp_path / "objects.csv"
    table.write_text("object_id,ira,idec\n7,150,2\n8,150,2\n7,150,2\n")
    names = [f"{tmp_path}/{n}-cutout-HSC-{b}-1-x.fits" for n, b in ((2, "G"), (3, "R"), (4, "R2"))]
    joined = join_list(
        SourceList(Source((name,), 1, 1) for name in names), read_request_list(table, {})
    )
    assert [(s.object_id, s.bands) for s in joined.sources] == [("7", "gr"), ("8", "r")]


def test_other_filters_and_lines_beyond_the_list(tmp_path: Path) -> None:
    asked = tmp_path / "request.txt"
    asked.write_text("#? filter ra dec\nNB0921 10 2\nall 10 2\n")
    names = ["2-cutout-NB0921-1-x.fits", "3-cutout-HSC-G-1-x.fits", "4-cutout-HSC-G-1-x.fits"]
    sources = SourceList(Source((f"{tmp_path}/{name}",), 1, 1) for name in names)
    joined = join_list(sources, read_request_list(asked, {}))
    assert (joined.answers, joined.other, joined.unlisted) == (1, 1, 1)
    assert [source.object_id for source in joined.sources] == ["10.00000+2.00000", None]


def test_a_list_of_garbage_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "list"

    @settings(deadline=None)
    @given(st.binary(max_size=200), st.booleans())
    def check(content: bytes, is_text: bool) -> None:
        path.write_bytes(b"#? ra dec filter\n" * is_text + content)
        try:
            read_request_list(path, {})
        except InputError as error:
            assert "\n" not in str(error)

    check()
