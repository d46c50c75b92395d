"""Where a network computes: which device, whether it is there, and whether its memory is enough."""

import torch

from photoz_mmae.errors import UsageError

_OUT_OF_MEMORY = (
    *("DefaultCPUAllocator", "could not create a primitive"),  # of oneDNN
    *("error: out of memory", "_STATUS_ALLOC_FAILED", "CUFFT_ALLOC_FAILED"),  # of CUDA's libraries
)
"""What a RuntimeError says of it where torch has no class of its own."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch or Python says that memory, of the host or a GPU, ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def count_gpus() -> int:
    """Return how many GPUs torch sees here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resolve_device(device: str) -> str:
    """Turn `auto` into a device that is there, and check one that is named.

    From then on convolutions on GPUs are in float32 where they are said to be.

    Raises
    ------
    UsageError
        It is none, or is not there.
    """
    check_device_name(device)
    if device == "auto":
        device = "cuda" if count_gpus() else "cpu"
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return "cpu"
    count = count_gpus()
    if int(index or 0) >= count:
        raise UsageError(f"device {device!r} is not there: torch sees {count} GPU(s); use cpu")
    # By default they have the 10 bits of TF32; matrix products do not.
    torch.backends.cudnn.allow_tf32 = False
    return f"cuda:{index or 0}"


def check_device_name(device: str) -> None:
    """Raise UsageError where that is no device's name, whether it is there or not."""
    kind, _, index = device.partition(":")
    if device != "auto" and (kind not in ("cpu", "cuda") or (index and not index.isdigit())):
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:K")


def check_device_usable(device: str) -> None:
    """Raise UsageError where a device that is there cannot be used: full, or another's alone."""
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise UsageError(
            f"device {device!r} cannot be used ({why}); free it, or give another --device"
        ) from error
