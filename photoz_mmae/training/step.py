"""One step of the optimiser, in as many pieces as memory asks for."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from photoz_mmae.errors import UsageError
from photoz_mmae.inference.device import is_out_of_memory
from photoz_mmae.training.objectives import Objective
from photoz_mmae.training.schedule import set_rate
from photoz_mmae.training.views import View
from photoz_mmae.training_sets.training_set import TrainingBatch

Result = TypeVar("Result")


class Pieces:
    """In how many pieces batches are computed: more once memory has run out.

    Parameters
    ----------
    n : int
        To begin with.
    note : callable of str
        Told once that memory ran out.
    """

    def __init__(self, n: int, note: Callable[[str], None]) -> None:
        self.n = n
        self._note = note
        self._said = False

    def attempt(self, objects: int, compute: Callable[[int], Result]) -> Result:
        """Call `compute` with the number of pieces, and again with twice as many if it must be.

        Raises
        ------
        UsageError
            Memory does not suffice for one object at a time.
        """
        while True:
            try:
                return compute(self.n)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.n >= objects:
                    raise UsageError(
                        "not enough memory for one object at a time; another --device or a smaller "
                        "--preset needs less"
                    ) from error
            # Outside of the handler: the exception holds what filled the memory.
            gc.collect()
            torch.cuda.empty_cache()
            self.n *= 2
            if not self._said:
                size = -(-objects // self.n)
                self._note(
                    f"out of memory: each batch of {objects} is computed {size} objects at a time "
                    "from now on, or fewer; it counts as one batch as before"
                )
                self._said = True


@contextmanager
def memory_suffices(else_do: str) -> Iterator[None]:
    """Raise UsageError, with what is to be done, where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UsageError(f"not enough memory; {else_do}") from error


class Stepper:
    """Makes the steps of a training.

    Parameters
    ----------
    objective : Objective
    optimizer : torch.optim.Optimizer
    average : AveragedModel or None
        Follows the weights.
    pieces : Pieces
    clip_norm : float
        The gradient's norm is clipped there; 0: it never is.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
        pieces: Pieces,
        clip_norm: float,
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._average = average
        self._pieces = pieces
        self._clip_norm = clip_norm

    def step(self, batch: TrainingBatch, factor: float, seed: tuple[int, ...]) -> dict[str, float]:
        """Make one step at `factor` of the learning rate; returns the losses.

        Parameters
        ----------
        batch : TrainingBatch
        factor : float
        seed : tuple of int
            Training's seed, epoch and step: everything random comes from it, so that a step is the
            same whatever was done before.

        Raises
        ------
        UsageError
            The loss is not finite, or memory does not suffice.
        """
        masks, dropout = np.random.SeedSequence(seed).generate_state(2).tolist()
        network = self._objective.network.train()
        views = self._objective.views(batch, torch.Generator().manual_seed(masks))

        def gradient(pieces: int) -> dict[str, float]:
            torch.manual_seed(dropout)
            self._optimizer.zero_grad()
            return backward(self._objective, views, pieces)

        losses = self._pieces.attempt(len(batch), gradient)
        if not np.isfinite(losses["total"]):
            raise UsageError(
                "the training loss is not finite; start anew with a lower --learning-rate and "
                "--overwrite"
            )
        set_rate(self._optimizer, factor)
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), self._clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(network)
        return losses


def backward(objective: Objective, views: list[View], pieces: int) -> dict[str, float]:
    """Add the gradient of a batch's mean losses, each view in `pieces`; returns the losses."""
    parts: list[dict[str, Tensor]] = []
    for view in views:
        for piece in view.pieces(pieces):
            losses = objective.losses(piece)
            losses["total"].backward()  # type: ignore[no-untyped-call]
            parts.append({name: value.detach() for name, value in losses.items()})
    names = list(parts[0])
    # Fetched at once: each fetch from a GPU waits for all that was asked of it.
    rows = torch.stack([torch.stack([part[name] for name in names]) for part in parts]).tolist()
    return {name: sum(values) for name, *values in zip(names, *rows, strict=True)}
