"""Whether workers elsewhere have what a run needs: the versions, the model, the run folder."""

import os
import pkgutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client, Worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.versions import get_versions

from photoz_mmae import __version__
from photoz_mmae.errors import InputError, ModelError
from photoz_mmae.model.info import load_info, read_weights

LIBRARIES = ("torch", "pyarrow")
"""Their major and minor versions are to be the same, and Python's."""

TOPIC = "photoz-mmae-left-out"
"""Of Dask's events: workers that joined and were sent away."""


Versions = Mapping[str, str | None]
"""Of Python and of libraries; None of one that is not there."""


def _versions() -> Versions:
    packages: Versions = get_versions(packages=LIBRARIES)["packages"]
    return packages


@dataclass(frozen=True)
class Needs:
    """What a worker must see as this process does; paths are absolute.

    Attributes
    ----------
    model, model_sha256 : str
        The model's folder, and what is to be found there.
    plan : str
    plan_size : int
    parts : str
        A folder in which it can write.
    version : str
        Of this package.
    libraries : Versions
        Of this process.
    """

    model: str
    model_sha256: str
    plan: str
    plan_size: int
    parts: str
    version: str = __version__
    libraries: Versions = field(default_factory=_versions)


@contextmanager
def workers_that_fit(client: Client, needs: Needs, tell: Callable[[str], None]) -> Iterator[None]:
    """Check the workers that are there, of which there must be one, and those that join later.

    One that joins later and does not fit is closed, and `tell` is called with what is wrong.

    Raises
    ------
    InputError
        A worker has other versions, or another file system.
    ModelError
        A worker has another model, or none.
    """
    if not client.nthreads():
        tell("none yet; waiting for the first to join")
        client.wait_for_workers(1)
    _check_versions(client, needs)
    for address, misfit in client.run(_misfit, needs, on_error="return").items():
        if isinstance(misfit, OSError):
            continue  # gone meanwhile
        if isinstance(misfit, Exception):
            raise InputError(f"worker {address}: {_other_version(misfit)}")
        if misfit is not None:
            raise (ModelError if misfit.model else InputError)(f"worker {address} {misfit.what}")
    client.subscribe_topic(TOPIC, lambda event: tell(f"left out: {event[1]}"))
    client.register_plugin(_Newcomers(needs))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            client.unregister_worker_plugin(_Newcomers.name)


@dataclass(frozen=True)
class _Misfit:
    what: str
    model: bool = False


def _check_versions(client: Client, needs: Needs) -> None:
    """Compare versions without any code of this package, which may be absent there."""
    for address, versions in client.get_versions(packages=LIBRARIES)["workers"].items():
        if differs := _other_library(versions["packages"], needs.libraries):
            raise InputError(f"worker {address} {differs}")
    there = client.run(pkgutil.resolve_name, "photoz_mmae:__version__", on_error="return")
    for address, version in there.items():
        if version != __version__ and not isinstance(version, OSError):
            raise InputError(f"worker {address}: {_other_version(version)}")


def _other_version(there: object, here: str = __version__) -> str:
    return (
        f"photoz_mmae there is not that of here ({there}, not {here}); start workers in the "
        "environment of this command"
    )


def _other_library(there: Versions, here: Versions) -> str | None:
    for library in ("python", *LIBRARIES):
        if _major_minor(there[library]) != _major_minor(here[library]):
            return (
                f"has {library} {there[library] or 'not at all'}, here is {here[library]}; "
                "start workers in the environment of this command"
            )
    return None


def _major_minor(version: str | None) -> list[str]:
    return (version or "").split(".")[:2]


def _misfit(needs: Needs) -> _Misfit | None:
    """Return what is wrong with this process and host, if anything."""
    host = f"on host {socket.gethostname()}"
    if needs.version != __version__:
        return _Misfit(f"{host}: {_other_version(__version__, needs.version)}")
    if differs := _other_library(_versions(), needs.libraries):
        return _Misfit(f"{host} {differs}")
    try:
        model = load_info(Path(needs.model))
        read_weights(Path(needs.model), model)
    except ModelError as error:
        return _Misfit(f"{host}: {error}; the model must be at the same path on all hosts", True)
    if model.sha256 != needs.model_sha256:
        return _Misfit(f"{host}: {needs.model} holds another model than here", True)
    try:
        with Path(needs.plan).open("rb") as file:
            same = file.seek(0, os.SEEK_END) == needs.plan_size
    except OSError:
        same = False
    if not same:
        return _Misfit(
            f"{host} does not see {needs.plan} as it is here; cutouts and output must be on a "
            "file system that all hosts share, at the same path"
        )
    if not os.access(needs.parts, os.W_OK):
        return _Misfit(f"{host} cannot write in {needs.parts}; it needs another user or mount")
    return None


class _Newcomers(WorkerPlugin):  # type: ignore[misc]
    """Closes a worker that joins and does not fit, before it has anything to do."""

    name = "photoz-mmae-newcomers"

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    def setup(self, worker: Worker) -> None:
        misfit = _misfit(self.needs)
        if misfit is not None:
            worker.log_event(TOPIC, f"worker {worker.address} {misfit.what}")
            worker.loop.add_callback(worker.close, reason="photoz-mmae: does not fit")
