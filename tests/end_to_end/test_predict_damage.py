"""`predict` when the disk fills, permission is lacking, files vanish, records are damaged.

Whatever happens: one clear line, no half-written catalogue, and then the same command ends in the
rows of a run that nothing happened to.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from photoz_mmae.cutouts.ids import printable


@pytest.fixture
def some(cutouts, tmp_path):
    """Two folders of six cutouts each, of one's own."""
    for file in cutouts.iterdir():
        folder = tmp_path / "in" / ("a" if int(file.stem) < 1006 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder)
    return tmp_path / "in"


@pytest.fixture
def again(predict, some):
    """Run the same command: parts of four."""
    return lambda *more, **where: predict(some, "--part-size", 4, *more, **where)


@pytest.fixture
def calm(again, tmp_path):
    """The rows of a run that nothing happened to."""
    assert again(output=tmp_path / "calm.parquet")[0] == 0
    return pq.read_table(tmp_path / "calm.parquet")


@pytest.fixture
def ordinary():
    """What goes before a command so that it may do no more than an ordinary user."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may do anything, and there is no setpriv to make an ordinary user of it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


def _files(folder):
    """What is in a folder, and what tells that it was not touched."""
    stats = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (s.st_ino, s.st_mtime_ns, s.st_size) for path, s in stats.items()}


def _half_written(folder):
    """Temporary files, but for those of a worker that may still be at its part."""
    return [path for path in folder.rglob(".*.tmp") if path.parent.name != "parts"]


def _rows(tmp_path):
    return pq.read_table(tmp_path / "c.parquet")


def _problems(tmp_path):
    return [json.loads(line) for line in (tmp_path / "c.run/problems.jsonl").open()]


def test_a_disk_that_is_full_at_every_moment(again, calm, small_disk):
    """Each page more lets the same command come a little further, until it is done."""
    said = []
    for kib in range(4, 1024, 4):
        disk = small_disk(kib)
        code, _, err = again(output=disk / "c.parquet")
        assert not _half_written(disk)
        if code == 0:
            break
        assert code == 6
        assert err.startswith(f"photoz-mmae: {disk}" if "part " not in err else "photoz-mmae: part")
        assert err.endswith("cannot be written ([Errno 28] No space left on device)\n")
        assert err.count("\n") == 1
        said.append(err)
        if (disk / "c.parquet").exists():
            assert pq.read_table(disk / "c.parquet").equals(calm)
    assert code == 0
    assert pq.read_table(disk / "c.parquet").equals(calm)
    # It was full wherever something is written.
    for file in ("run.json:", "plan.jsonl:", "part-000000-", "part-000002-", "c.parquet:"):
        assert any(file in line for line in said), file


COMMANDS = """
import json, sys
from photoz_mmae.cli.main import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as stop:
        print("exit", stop.code, flush=True)
"""


def _commands(commands, *before):
    """Run commands one after the other in one other process."""
    text = json.dumps([[str(word) for word in command] for command in commands])
    line = [*before, sys.executable, "-c", COMMANDS, text]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_without_permission(again, photoz, predict, some, calm, ordinary, tiny_model, tmp_path):
    assert predict(some / "a", "--part-size", 4)[0] == 0
    shut = some / "b/1007.fits"
    options = ["--model", tiny_model, "--workers", 1, "--part-size", 4]
    elsewhere, here = tmp_path / "read-only/c.parquet", tmp_path / "c.parquet"
    elsewhere.parent.mkdir()
    (tmp_path / "run-read-only").mkdir()
    shutil.copytree(
        tmp_path / "c.run", tmp_path / "run-read-only/c.run", copy_function=shutil.copy2
    )
    shutil.copy2(here, tmp_path / "run-read-only")
    closed = [elsewhere.parent, *(tmp_path / "run-read-only").rglob("*")]
    modes = {path: path.stat().st_mode for path in closed}
    commands = [
        ["predict", some, "-o", elsewhere, *options],
        ["predict", some, "-o", tmp_path / "run-read-only/c.parquet", *options],
        ["verify", tmp_path / "run-read-only/c.parquet", "--model", tiny_model],
        ["status", tmp_path / "run-read-only/c.parquet"],
        ["predict", some, "-o", here, *options],
    ]
    for path in closed:
        path.chmod(modes[path] & ~0o222)
    shut.chmod(0)
    try:
        done = _commands(commands, *ordinary)
    finally:
        for path in closed:
            path.chmod(modes[path])
    codes = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("exit")]
    assert codes == ["6", "6", "0", "0", "3"], done.stdout + done.stderr
    first, second = done.stderr.splitlines()
    assert first == f"photoz-mmae: {elsewhere.parent}: the output's folder is not writable"
    assert "cannot be locked" in second
    assert "--retry-bad" in done.stdout
    [problem] = _problems(tmp_path)
    assert problem["flags"] == ["READ_ERROR"]
    assert "Permission denied" in problem["reason"]
    # Its size and time are what they were: it is read again when that is asked for.
    shut.chmod(0o644)
    assert again()[0] == 3
    code, out, _ = again("--retry-bad")
    assert (code, "to do     4 objects in 1 of 4 parts" in out) == (0, True)
    assert _rows(tmp_path).sort_by("object_id").equals(calm)
    assert "0 objects in 0 of 4 parts" in again("--retry-bad")[1]


def test_a_folder_one_may_not_search(some, ordinary, tiny_model, tmp_path):
    shut, options = tmp_path / "shut", ["--model", tiny_model, "--workers", 1]
    (shut / "c.run").mkdir(parents=True)
    here = ["predict", some, "-o", tmp_path / "c.parquet", *options]
    commands = {
        ("predict", some, "-o", shut / "c.parquet", *options): 6,
        (*here, "--catalog", shut / "t.csv"): 4,
        (*here, "--list", shut / "list.txt"): 4,
        ("status", shut / "c.parquet"): 4,
        ("status", shut / "c.run"): 4,
        ("verify", shut / "c.parquet"): 4,
    }
    shut.chmod(0)
    try:
        done = _commands(commands, *ordinary)
    finally:
        shut.chmod(0o755)
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("exit")]
    assert codes == list(commands.values()), done.stderr
    assert "bug" not in done.stderr
    assert [str(shut) in line for line in done.stderr.splitlines()] == [True] * len(commands)


@pytest.mark.parametrize("words", ["-o {}.parquet", "-o {}", "--qp {}.hdf5", "--catalog {}.csv"])
def test_a_name_that_is_too_long(predict, photoz, some, tmp_path, words):
    option, name = words.format("x" * 300).split()
    code, _, err = predict(some, option, tmp_path / name)
    assert (code, err.count("\n")) == (4 if option == "--catalog" else 6, 1)
    assert "File name too long" in err


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_the_name_of_a_catalogue_that_is_too_long(photoz, tmp_path, verb):
    code, _, err = photoz(verb, tmp_path / f"{'x' * 300}.parquet")
    assert (code, err.count("\n"), "File name too long" in err) == (4, 1, True)


def test_cutouts_that_vanish_before_they_are_read(again, some, calm, when_synced, tmp_path):
    away = tmp_path / "away"
    when_synced("plan.jsonl", lambda: (some / "b").rename(away))
    code, out, _ = again()
    assert (code, "READ_ERROR 6" in out) == (3, True)
    assert {problem["flags"][0] for problem in _problems(tmp_path)} == {"READ_ERROR"}
    assert all("No such file" in problem["reason"] for problem in _problems(tmp_path))
    # They are known to be gone now, and there is nothing to be read again.
    code, out, _ = again("--retry-bad")
    assert (code, "gone      6 cutouts" in out, "0 of 3 parts" in out) == (0, True, True)
    # When all is gone, or not mounted, nothing is concluded from that.
    before = _files(tmp_path / "c.run/parts"), (tmp_path / "c.parquet").read_bytes()
    some.rename(tmp_path / "all")
    assert again()[0] == 4
    some.mkdir()
    assert again()[0] == 4
    assert (_files(tmp_path / "c.run/parts"), (tmp_path / "c.parquet").read_bytes()) == before
    # They are back as they were.
    some.rmdir()
    (tmp_path / "all").rename(some)
    away.rename(some / "b")
    assert again()[0] == 3
    code, out, _ = again("--retry-bad")
    assert (code, "8 objects in 2 of 3 parts" in out) == (0, True)
    assert _rows(tmp_path).equals(calm)


def test_a_model_that_is_replaced_during_the_run(
    photoz, some, calm, when_synced, tiny_model, make_info, save_tiny, tmp_path
):
    model, aside = tmp_path / "model", tmp_path / "aside"
    shutil.copytree(tiny_model, model)
    other = save_tiny(tmp_path / "other", make_info(name="other"))
    output = tmp_path / "c.parquet"
    command = ["predict", some, "-o", output, "--model", model, "--workers", 1, "--batch-size", 4]

    def replace():
        model.rename(aside)
        other.rename(model)

    waiting = when_synced("plan.jsonl", replace)
    code, _, err = photoz(*command)
    assert not waiting
    assert (code, err.count("\n")) == (5, 1), err
    assert f"{model}: the model was replaced while the run was going on" in err
    assert not output.exists()
    # The one that it began with is back.
    shutil.rmtree(model)
    aside.rename(model)
    assert photoz(*command)[0] == 0
    assert _rows(tmp_path).equals(calm)


def _cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_a_damaged_run_folder(again, calm, tmp_path):
    assert again()[0] == 0
    run = tmp_path / "c.run"

    def part(number):
        lines = map(json.loads, (run / "journal.jsonl").open())
        return run / "parts" / next(p["file"] for p in reversed(list(lines)) if p["part"] == number)

    def garbage_between():
        lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
        # What a disk may give after a power cut, and what an editor may leave.
        lines[-2:-1] = [
            lines[-2][:50] + bytes(200),
            b"\n",
            b"\xff\xfe{]\n",
            b'{"part":0}\n',
            b"7\n",
        ]
        (run / "journal.jsonl").write_bytes(b"".join(lines))

    def flip():
        damaged = bytearray(part(0).read_bytes())
        damaged[len(damaged) // 2] ^= 0x10
        part(0).write_bytes(damaged)

    for damage, parts in (
        (lambda: _cut(part(1), 0.7), 1),
        (flip, 1),
        (lambda: _cut(run / "journal.jsonl", 0.9), 1),
        (garbage_between, 1),
        (lambda: _cut(run / "plan.jsonl", 0.8), 0),
        (
            lambda: (run / "plan.jsonl").write_bytes(
                b'{"x":1}\n' + (run / "plan.jsonl").read_bytes()
            ),
            0,
        ),
        ((run / "problems.jsonl").unlink, 0),
    ):
        damage()
        code, out, err = again()
        assert (code, f"in {parts} of 3 parts" in out) == (0, True), out + err
        assert _rows(tmp_path).equals(calm)
    content = (tmp_path / "c.parquet").read_bytes()

    # Without it nobody knows whose the catalogue is.
    (run / "outputs.jsonl").unlink()
    for code, _, err in (again(), again("--retry-bad")):
        assert (code, "outputs.jsonl" in err, "move it away" in err) == (6, True, True)
        assert (tmp_path / "c.parquet").read_bytes() == content
    (tmp_path / "c.parquet").rename(tmp_path / "moved")
    code, out, _ = again()
    assert (code, "in 0 of 3 parts" in out) == (0, True)
    assert _rows(tmp_path).equals(calm)

    _cut(run / "run.json", 0.5)
    before = _files(run / "parts"), (tmp_path / "c.parquet").read_bytes()
    code, _, err = again()
    assert (code, "run.json: damaged" in err, err.count("\n")) == (6, True, 1)
    assert (_files(run / "parts"), (tmp_path / "c.parquet").read_bytes()) == before


def test_a_plan_that_lost_a_part(again, some, calm, tmp_path):
    plan = tmp_path / "c.run/plan.jsonl"
    (some / "a/1003.fits").rename(tmp_path / "away.fits")
    (some / "b/1011.fits").rename(tmp_path / "too.fits")
    assert again()[0] == 0
    lines = plan.read_bytes().splitlines(keepends=True)
    before = _rows(tmp_path)

    def assert_refused(part):
        files = _files(tmp_path / "c.run/parts"), (tmp_path / "c.parquet").read_bytes()
        code, _, err = again()
        said = f"plan.jsonl: damaged, part {part} "
        assert (code, said in err, "--overwrite" in err, err.count("\n")) == (6, True, True, 1)
        assert (_files(tmp_path / "c.run/parts"), (tmp_path / "c.parquet").read_bytes()) == files

    # Planned again at the end, its row without a file would be lost.
    plan.write_bytes(b"".join([lines[0][:50] + bytes(200) + b"\n", *lines[1:]]))
    assert_refused(0)
    # And of a last line that is torn, the rows whose files are gone since.
    (some / "b/1010.fits").unlink()
    plan.write_bytes(b"".join(lines)[:-30])
    assert_refused(len(lines) - 1)
    plan.write_bytes(b"".join(lines))
    code, out, err = again()
    assert (code, "0 of 3 parts" in out) == (0, True), err
    assert _rows(tmp_path)["z_median"].equals(before["z_median"])


def test_two_runs_at_once(again, some, calm, when_synced, tiny_model, tmp_path):
    other = ["predict", some, "-o", tmp_path / "c.parquet", "--model", tiny_model]
    seen = []

    def begin_another():
        before = _files(tmp_path)
        done = _commands([other, [*other, "--overwrite"]])
        seen.append((done, before, _files(tmp_path)))

    when_synced("plan.jsonl", begin_another)
    assert again()[0] == 0
    [(done, before, after)] = seen
    assert done.stdout == "exit 7\nexit 7\n"
    for line in done.stderr.splitlines():
        assert f"is held by another run (process {os.getpid()} on " in line
    assert before == after
    assert _rows(tmp_path).equals(calm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "moment",
    [
        ".run.json.*",
        "plan.jsonl",
        "journal.jsonl",
        ".problems.jsonl.*",
        ".c.parquet.*",
        "outputs.jsonl",
    ],
)
def test_stopped_at_any_moment(again, calm, when_synced, moment, number, tmp_path):
    waiting = when_synced(moment, lambda: os.kill(os.getpid(), number))
    code, _, err = again()
    assert not waiting
    assert (code, err.count("\n")) == (75, 1)
    assert not (tmp_path / "c.parquet").exists()
    assert not _half_written(tmp_path)
    assert json.loads((tmp_path / "c.run/run.json").read_bytes())["exit"] == 75
    assert again()[0] == 0
    assert _rows(tmp_path).equals(calm)


def test_overwrite_that_is_stopped(again, calm, when_synced, tmp_path, monkeypatch):
    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    assert again()[0] == 0
    before = (tmp_path / "c.parquet").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("photoz_mmae.survey_run.survey.find_objects", stop)
        code, _, err = again("--overwrite")
    assert (code, "the same command goes on" in err) == (75, True)
    assert (tmp_path / "c.parquet").read_bytes() == before
    when_synced("journal.jsonl", stop)
    code, _, err = again("--overwrite")
    assert (code, "the same command without --overwrite goes on" in err) == (75, True)
    assert again()[0] == 0
    assert _rows(tmp_path).equals(calm)


def test_overwrite_that_is_killed_while_it_removes(again, calm, monkeypatch, tmp_path):
    def killed(*_):
        raise SystemExit(137)

    (tmp_path / "t.csv").write_text("object_id,field\n1000,deep\n")
    run = ("--catalog", tmp_path / "t.csv", "--keep", "field")
    assert again(*run)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("photoz_mmae.survey_run.run_record.RunRecord.begin", killed)
        again(*run, "--overwrite")
    assert not (tmp_path / "c.parquet").exists()
    assert again(*run)[0] == 0
    assert _rows(tmp_path).drop_columns(["field"]).equals(calm)


def test_a_catalogue_is_sound_after_a_stop_with_other_kept_columns(
    again, photoz, when_synced, tiny_model, tmp_path
):
    rows = "".join(f"{1000 + n},deep,{n}\n" for n in range(12))
    (tmp_path / "t.csv").write_text(f"object_id,field,tract\n{rows}")
    run = ("--catalog", tmp_path / "t.csv", "--keep")
    assert again(*run, "field")[0] == 0
    waiting = when_synced("1.arrow", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert again(*run, "field,tract")[0] == 75
    assert not waiting
    options = ("--model", tiny_model, "--sample", 0)
    code, out, _ = photoz("verify", tmp_path / "c.parquet", *options)
    assert code == 0, out


def test_strange_names(photoz, write_cube, scheduler, tiny_model, tmp_path, monkeypatch):
    folder = tmp_path / 'it\'s "here"\nand there'
    strange = ["new\nline", 'it\'s "quoted"', " blanks  ", "tab\t", "$HOME;`id`", "ü", "%41?*[a]"]
    names = [os.fsencode(name) for name in strange] + [b"bytes\xff\xfe"]
    for i, name in enumerate(names):
        write_cube(folder / "in/x.fits", seed=i).rename(
            os.fsdecode(bytes(folder / "in") + b"/" + name + b".fits")
        )
    output = folder / "my 'cat' of\n\"ü\".parquet"
    options = ["-o", output, "--model", tiny_model, "--scheduler", scheduler, "--part-size", 3]
    code, out, err = photoz("predict", folder / "in", *options)
    assert (code, "rows      8, 0 without redshift" in out) == (0, True), err
    rows = pq.read_table(output)
    assert {*map(printable, strange)} < {*rows["object_id"].to_pylist()}
    # The same paths by standard input are the same objects.
    find = ["find", folder / "in", "-name", "*.fits", "-print0"]
    with subprocess.Popen(find, stdout=subprocess.PIPE) as listed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(listed.stdout))
        code, out, err = photoz("predict", "-", *options)
    assert (code, "nothing new" in out) == (0, True), err
    code, out, _ = photoz("status", output, "--json")
    assert (code, json.loads(out)["catalogue"]["up_to_date"]) == (0, True)
    assert photoz("status", output)[0] == 0
    code, out, _ = photoz("verify", output, "--model", tiny_model, "--against", folder / "in")
    assert code == 0, out
    # A name that no other program could open is refused.
    output = os.fsdecode(os.fsencode(tmp_path) + b"/c\xff.parquet")
    code, _, err = photoz("predict", folder / "in", *options[2:], "-o", output)
    assert (code, "UTF-8" in err, err.count("\n")) == (2, True, 1)
