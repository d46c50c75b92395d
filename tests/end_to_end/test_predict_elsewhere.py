"""`predict --scheduler`: over TLS, and with workers that do not fit the run."""

import dataclasses
import datetime
import os
import queue
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import dask
import pyarrow.parquet as pq
import pytest
from distributed import Client

from photoz_mmae.errors import InputError
from photoz_mmae.model.info import load_info
from photoz_mmae.survey_run.worker_check import Needs, workers_that_fit


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate authority, and a key and a certificate signed by it: three files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, issuer_key, authority):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(issuer_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    for authority in ("ours", "theirs"):
        root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        (folder / f"{authority}-ca.pem").write_bytes(
            certificate(authority, root, authority, root, True)
        )
        (folder / f"{authority}-cert.pem").write_bytes(
            certificate("dask", key, authority, root, False)
        )
        (folder / f"{authority}-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return folder


def _tls(folder, authority):
    """What a user's configuration of Dask says, for every role."""
    files = {"ca-file": f"{folder}/{authority}-ca.pem"}
    for role in ("client", "scheduler", "worker"):
        for what in ("cert", "key"):
            files[f"{role}.{what}"] = f"{folder}/{authority}-{what}.pem"
    return {f"distributed.comm.tls.{name}": file for name, file in files.items()}


def _as_variables(configuration):
    """The same as Dask reads it from the environment."""
    return {
        f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": value
        for key, value in configuration.items()
    }


@pytest.fixture
def start(tmp_path):
    """Start `dask scheduler` or `dask worker` as users do; returns the process."""
    started = []

    def run(kind, *words, environment=None, before=()):
        command = [*before, sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        log = tmp_path / f"{kind}-{len(started)}.log"
        process = subprocess.Popen(
            [*command, "--no-dashboard"],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, **(environment or {})},
        )
        started.append(process)
        process.log = log
        return process

    yield run
    for process in reversed(started):
        process.terminate()
        process.wait()


def _said(process, pattern):
    """Wait for a line of a process's log; return what it says."""
    deadline = time.monotonic() + 60
    while not (found := re.search(pattern, process.log.read_text())):
        assert process.poll() is None, process.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[1]


def _scheduler(start, host="tcp://127.0.0.1", **more):
    scheduler = start("scheduler", "--host", host, "--port", "0", **more)
    return _said(scheduler, r"Scheduler at: +(\S+)")


def _worker(start, address, **more):
    options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0")
    return start("worker", address, *options, **more)


def test_tls_with_the_certificates_of_dasks_configuration(
    photoz, start, certificates, cutouts, tiny_model, tmp_path
):
    environment = _as_variables(_tls(certificates, "ours"))
    address = _scheduler(start, "tls://127.0.0.1", environment=environment)
    _worker(start, address, environment=environment)
    options = ("-o", tmp_path / "c.parquet", "--model", tiny_model, "--batch-size", 4)

    def run():
        return photoz("predict", cutouts, *options, "--scheduler", address)

    with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        for tls in ({}, _tls(certificates, "theirs")):
            with dask.config.set(tls):
                code, _, err = run()
            assert code == 4
            assert err.count("\n") == 1
            assert address in err
    with dask.config.set(_tls(certificates, "ours")):
        code, out, err = run()
    assert (code, err) == (0, "")
    # The page of a scheduler that has none is not told of.
    assert "dashboard" not in out
    assert pq.read_metadata(tmp_path / "c.parquet").num_rows == 12


def _another_version(folder):
    """A copy of this package that says it is of another version."""
    import photoz_mmae

    package = Path(photoz_mmae.__file__).parent
    (folder / "photoz_mmae").mkdir(parents=True)
    for file in package.iterdir():
        (folder / "photoz_mmae" / file.name).symlink_to(file)
    (folder / "photoz_mmae/__init__.py").unlink()
    (folder / "photoz_mmae/__init__.py").write_text('__version__ = "0.0.1"\n')
    return {"PYTHONPATH": str(folder)}


def _another_torch(folder):
    """An environment that says that its torch is of another version."""
    import photoz_mmae

    about = folder / "torch-1.13.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.13.0\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{Path(photoz_mmae.__file__).parents[1]}"}


def test_workers_that_do_not_fit(photoz, start, cutouts, tiny_model, tmp_path):
    address = _scheduler(start)
    options = ("-o", tmp_path / "c.parquet", "--model", tiny_model, "--scheduler", address)
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/photoz_mmae.py").write_text("raise ModuleNotFoundError('none')")
    for environment, said in (
        (_another_version(tmp_path / "old"), ": photoz_mmae there is not that of here (0.0.1, not"),
        ({"PYTHONPATH": str(tmp_path / "absent")}, ": photoz_mmae there is not that of here ("),
        (_another_torch(tmp_path / "torch"), " has torch 1.13.0, here is "),
    ):
        worker = _worker(start, address, environment=environment)
        code, _, err = photoz("predict", cutouts, *options)
        assert code == 4
        assert re.match(rf"photoz-mmae: worker tcp://127.0.0.1:\d+{re.escape(said)}", err), err
        assert err.count("\n") == 1
        worker.terminate()
        worker.wait()
    assert not (tmp_path / "c.parquet").exists()


def test_another_file_system(photoz, start, cutouts, tiny_model, tmp_path):
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("a mount namespace, which makes the other host, needs root")
    address = _scheduler(start)
    output = tmp_path / "out" / "c.parquet"
    output.parent.mkdir()
    options = ("-o", output, "--model", tiny_model, "--scheduler", address, "--batch-size", 4)
    for hidden, code, said in (
        (output.parent, 4, f"does not see {output.with_suffix('.run')}/plan.jsonl as it is here"),
        (tiny_model, 5, f"{tiny_model}/model.json: damaged or unreadable"),
    ):
        mount = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {hidden} && exec $0 $@"]
        worker = _worker(start, address, before=mount)
        found, _, err = photoz("predict", cutouts, *options)
        assert found == code
        assert said in err
        assert f"on host {socket.gethostname()}" in err
        assert err.count("\n") == 1
        worker.terminate()
        worker.wait()
    _worker(start, address)
    assert photoz("predict", cutouts, *options)[0] == 0


def test_one_that_joins_later_and_does_not_fit_is_sent_away(start, tiny_model, tmp_path):
    address = _scheduler(start)
    _worker(start, address)
    (tmp_path / "plan").write_text("x\n")
    needs = Needs(
        model=str(tiny_model),
        model_sha256=load_info(tiny_model).sha256,
        plan=str(tmp_path / "plan"),
        plan_size=2,
        parts=str(tmp_path),
    )
    said = queue.Queue()
    older = dataclasses.replace(needs, libraries={**needs.libraries, "python": "3.10.9.final.0"})
    with (
        Client(address) as client,
        pytest.raises(InputError, match=r"has python 3\.\d+\..*, here is 3\.10\.9"),
        workers_that_fit(client, older, said.put),
    ):
        pass
    assert said.get() == "none yet; waiting for the first to join"
    with Client(address) as client, workers_that_fit(client, needs, said.put):
        good = set(client.nthreads())
        worker = _worker(start, address, environment=_another_version(tmp_path / "old"))
        assert re.match(
            r"left out: worker tcp://127.0.0.1:\d+ on host .*: photoz_mmae there is not that of "
            r"here \(0.0.1, not",
            said.get(timeout=60),
        )
        worker.wait(60)
        worker = _worker(start, address, environment=_another_torch(tmp_path / "torch"))
        assert "has torch 1.13.0, here is " in said.get(timeout=60)
        worker.wait(60)
        assert set(client.nthreads()) == good
        (tmp_path / "plan").write_text("another\n")
        _worker(start, address)
        assert f"does not see {tmp_path}/plan as it is here" in said.get(timeout=60)
