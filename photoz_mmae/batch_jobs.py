"""What `--cluster slurm:...` asks of a batch system: which jobs, and how many."""

import difflib
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator
from pydantic.dataclasses import dataclass

MEMORY_PER_CORE = "4 GB"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SlurmJobs:
    """Jobs of SLURM, each with worker processes of one thread.

    Attributes
    ----------
    partition, account : str or None
        None: what SLURM, or Dask's own configuration (jobqueue.yaml), says.
    cores : int
        Of a job, and so many worker processes are in it; with GPUs, one per GPU.
    memory : str or None
        Of a job, as in "16GB"; None: 4 GB per core.
    walltime : str
        Of a job, as in "04:00:00". One that ends is followed by another while there is work.
    jobs : int
    gpus : int
        Of a job (`--gres=gpu:N`).
    interface : str or None
        Network interface of this and the workers' hosts, as "ib0".
    directive : str or None
        One more option of sbatch, as "--constraint=amd".
    """

    partition: str | None = None
    account: str | None = None
    cores: int = Field(default=1, ge=1)
    memory: str | None = None
    walltime: str = Field(default="04:00:00", pattern=r"^[0-9:-]+$")
    jobs: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0)
    interface: str | None = None
    directive: str | None = None

    @field_validator("memory")
    @classmethod
    def _memory_is_one(cls, memory: str | None) -> str | None:
        from dask.utils import parse_bytes

        try:
            if memory is not None:
                parse_bytes(memory)
        except ValueError as error:
            raise ValueError("must be as in 16GB") from error
        return memory

    @property
    def processes(self) -> int:
        """Worker processes of a job."""
        return self.gpus or self.cores

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `slurm:key=value,...`; `slurm` alone asks for one job of one core.

        Raises
        ------
        ValueError
            What is wrong with it, in a sentence; of an unknown key, the nearest known one.
        """
        kind, _, rest = text.partition(":")
        if kind != "slurm":
            raise ValueError(f"unknown batch system {kind!r}; give slurm:partition=NAME,jobs=N,...")
        known = list(cls.__dataclass_fields__)
        values: dict[str, Any] = {}
        for pair in filter(None, rest.split(",")):
            key, equals, value = (word.strip() for word in pair.partition("="))
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                raise ValueError(f"unknown key {key!r}; {hint}")
            if not equals or not value:
                raise ValueError(f"{key} has no value; give {key}=VALUE")
            if key in values:
                raise ValueError(f"{key} is given twice")
            values[key] = value
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ").partition(",")[0]
            said = message.replace("Input should be", "must be")
            raise ValueError(f"{first['loc'][0]}: {said}") from error
