"""`embed`: a row with a vector for every object, by the same machinery as `predict`."""

import json
import os
import shutil
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from photoz_mmae.flags import Flag

SIZE = 32
"""Of the embeddings of the tiny models."""


@pytest.fixture
def embed(photoz, scheduler, tiny_model, tmp_path):
    """Run `embed` with a tiny model on the shared cluster; the output is tmp_path/e.parquet."""

    def run(*arguments, model=tiny_model, output=tmp_path / "e.parquet"):
        options = ("-o", output, "--model", model, "--scheduler", scheduler, "--batch-size", 4)
        return photoz("embed", *options, *arguments)

    return run


def vectors(path):
    """Embeddings by object id."""
    rows = pq.read_table(path).to_pylist()
    return {str(row["object_id"]): np.array(row["embedding"], np.float32) for row in rows}


def test_one_row_per_object(embed, predict, cutouts, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "e.parquet"
    shutil.copytree(cutouts, folder)
    (folder / "torn.fits").write_text("this is no FITS file\n")
    code, out, _ = embed(folder)
    assert code == 3
    assert "rows      13, 1 without embedding (READ_ERROR 1)" in out
    assert embed(folder, "--max-bad", 1)[0] == 0

    rows = pq.read_table(output)
    assert rows.schema.names == ["object_id", "ra", "dec", "source", "flags", "embedding"]
    # The order is that of `predict`.
    predict(folder)
    catalogue = pq.read_table(tmp_path / "c.parquet")
    for name in ("object_id", "ra", "dec", "source"):
        assert rows[name].equals(catalogue[name]), name
    found = np.array(rows["embedding"].to_pylist(), np.float32)
    assert found.shape == (13, SIZE)
    lacking = ~np.isfinite(found).any(axis=1)
    assert [row["object_id"] for row in rows.filter(pa.array(lacking)).to_pylist()] == ["torn"]
    assert np.isfinite(found[~lacking]).all()
    assert len(np.unique(found[~lacking], axis=0)) == 12
    flags = dict(zip(rows["object_id"].to_pylist(), rows["flags"].to_pylist(), strict=True))
    assert flags["torn"] == Flag.READ_ERROR
    assert not any(flags[str(1000 + i)] & int(Flag.READ_ERROR) for i in range(12))
    problem = json.loads((tmp_path / "e.run/problems.jsonl").read_text())
    assert (problem["object_id"], problem["flags"]) == ("torn", ["READ_ERROR"])

    table = Table.read(output, format="parquet.votable")
    assert table["embedding"].shape == (13, SIZE)
    assert "redshift head" in table["embedding"].description
    metadata = rows.schema.metadata
    assert metadata[b"photoz_mmae.content"] == b"embeddings"
    assert metadata[b"photoz_mmae.model_name"] == b"tiny"


def test_again_and_not_over_a_catalogue(embed, predict, cutouts, tmp_path):
    output = tmp_path / "e.parquet"
    assert embed(cutouts)[0] == 0
    before = (output.read_bytes(), output.stat().st_mtime_ns)
    code, out, _ = embed(cutouts)
    assert code == 0
    assert "is up to date, nothing new" in out
    assert (output.read_bytes(), output.stat().st_mtime_ns) == before
    code, _, err = predict(cutouts, output=output)
    assert code == 6
    assert "was made with other settings (it holds embeddings, not redshifts);" in err
    assert output.read_bytes() == before[0]
    assert predict(cutouts)[0] == 0
    code, _, err = embed(cutouts, output=tmp_path / "c.parquet")
    assert code == 6
    assert "(it holds redshifts, not embeddings);" in err


def test_the_same_image_has_the_same_embedding(embed, cutouts, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(cutouts, folder)
    # Behind all others, so in another batch and in another place of it.
    shutil.copy(folder / "1002.fits", folder / "9999.fits")
    assert embed(folder)[0] == 0
    found = vectors(tmp_path / "e.parquet")
    assert np.array_equal(found["9999"], found["1002"])
    assert not np.array_equal(found["9999"], found["1003"])


def test_the_published_network(embed, cutouts, tiny_point_model, tmp_path):
    assert embed(cutouts, model=tiny_point_model)[0] == 0
    found = np.array(list(vectors(tmp_path / "e.parquet").values()))
    assert found.shape == (12, SIZE)
    assert np.isfinite(found).all()


def test_with_a_table(embed, cutouts, tmp_path):
    ids = np.arange(1000, 1012)
    words = ("--catalog", tmp_path / "t.parquet", "--keep", "tract", "--part-size", 4)
    tract = pa.array(ids % 7)
    for ebv, todo in ((np.full(12, 0.1), 3), (np.where(ids == 1005, 0.2, 0.1), 1)):
        table = pa.table({"object_id": ids, "ebv": ebv, "tract": tract})
        pq.write_table(table, tmp_path / "t.parquet")
        code, out, _ = embed(cutouts, *words)
        assert code == 0
        assert f"in {todo} of 3 parts" in out
    rows = pq.read_table(tmp_path / "e.parquet")
    assert rows.schema.names[4:] == ["ebv", "flags", "embedding", "tract"]
    np.testing.assert_allclose(rows["ebv"].to_numpy(), ebv, rtol=1e-6)
    assert rows["tract"].to_pylist() == tract.to_pylist()


def test_stopped_and_gone_on(embed, write_cube, when_synced, tmp_path):
    folder, journal = tmp_path / "in", tmp_path / "e.run/journal.jsonl"
    for i in range(30):
        write_cube(folder / f"{i}.fits", seed=i)

    def records():
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def stamps(done):
        stats = [(tmp_path / "e.run/parts" / record["file"]).stat() for record in done]
        return [(stat.st_ino, stat.st_mtime_ns) for stat in stats]

    when_synced("journal.jsonl", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert embed(folder, "--part-size", 1)[0] == 75
    assert not (tmp_path / "e.parquet").exists()
    done = records()
    assert 1 <= len(done) < 30
    before = stamps(done)
    assert embed(folder, "--part-size", 1)[0] == 0
    assert stamps(done) == before
    assert sorted(record["part"] for record in records()) == list(range(30))
    assert embed(folder, output=tmp_path / "calm.parquet")[0] == 0
    assert pq.read_table(tmp_path / "e.parquet").equals(pq.read_table(tmp_path / "calm.parquet"))


def test_vanished_cutouts_keep_their_embeddings(embed, cutouts, write_cube, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "e.parquet"
    shutil.copytree(cutouts, folder)
    assert embed(folder, "--part-size", 4)[0] == 0
    before = vectors(output)
    for i in range(4, 8):  # a whole part
        (folder / f"{1000 + i}.fits").unlink()
    (folder / "1000.fits").unlink()
    write_cube(folder / "1001.fits", seed=77)
    assert embed(folder, "--part-size", 4)[0] == 0
    after = vectors(output)
    assert after.keys() == before.keys()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["1001"]
    flags = pq.read_table(output)["flags"].to_numpy()
    assert np.flatnonzero(flags & Flag.SOURCE_GONE).tolist() == [0, 4, 5, 6, 7]
