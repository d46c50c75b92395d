"""Losses and metrics for TensorBoard, on request."""

from pathlib import Path
from typing import Any

from photoz_mmae.errors import OutputError, UsageError

EVENTS_FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Raise UsageError where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs a package: pip install 'photoz-mmae[tensorboard]'"
        ) from error


class Events:
    """Event files in `FOLDER/tensorboard`.

    Parameters
    ----------
    folder : Path
        Of the model.
    step : int
        Steps made before; later ones in older files count as dropped.

    Raises
    ------
    OutputError
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer: Any = SummaryWriter(
                str(folder / EVENTS_FOLDER), purge_step=step if step else None
            )
        except OSError as error:
            raise OutputError(f"{folder}: cannot write event files ({error.strerror})") from error

    def add_step(self, step: int, losses: dict[str, float]) -> None:
        """Losses of one step, counted from 1 over all epochs."""
        for name, value in losses.items():
            self._writer.add_scalar(f"step/loss_{name}", value, step)

    def add_epoch(self, step: int, record: dict[str, Any]) -> None:
        """Write the record of an epoch that ended with this step."""
        for part in ("training", "validation"):
            for name, value in record[part].items():
                self._writer.add_scalar(f"{part}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
