"""How a network is trained: for how long, by which optimiser, at which learning rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from photoz_mmae.model.presets import Schedule
from photoz_mmae.training.schedule import make_optimizer, rate_factor


@dataclass(frozen=True)
class Pace:
    """Where a training is, as far as its learning rate may depend on it.

    Attributes
    ----------
    step : int
        Steps that were made before this one.
    steps : int
        Of all epochs together.
    steps_per_epoch : int
    validation : tuple of float
        What the course watches, of the epochs that are done.
    """

    step: int
    steps: int
    steps_per_epoch: int
    validation: tuple[float, ...]


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch_size : int
    most_steps : int
        There are fewer epochs where that many are more steps; the last one is made to its end.
        0: there never are.
    patience : int
        Training ends after so many epochs without progress; 0: it never does.
    clip_norm : float
        The gradient's norm is clipped there; 0: it never is.
    ema : float
        Decay per step of the weights' moving average, which is what is validated and kept;
        0: none is taken.
    optimizer : callable of nn.Module
        Makes the optimiser.
    rate : callable of Pace
        Factor on the optimiser's own learning rates.
    watched : {"loss_total", "sigma_nmad"}
        What of the validation objects is to go down, and is least in the epoch that is kept.
    """

    epochs: int
    batch_size: int
    patience: int
    clip_norm: float
    ema: float
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    rate: Callable[[Pace], float]
    most_steps: int = 0
    watched: str = "loss_total"

    def will_slow(self, pace: Pace) -> bool:
        """Whether the rate is lower at the end, if there is no more progress."""
        since = len(pace.validation) - 1 - np.argmin(pace.validation)
        losses = (*pace.validation, *[math.inf] * max(0, int(self.patience - since)))
        return self.rate(replace(pace, step=pace.steps, validation=losses)) < self.rate(pace)

    def epochs_of(self, steps: int) -> int:
        """Return how many epochs of so many steps there are."""
        if not self.most_steps:
            return self.epochs
        return min(self.epochs, -(-self.most_steps // steps))


def course_of(schedule: Schedule) -> Course:
    """Return the course that a preset describes."""
    return Course(
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        patience=schedule.patience,
        clip_norm=schedule.clip_norm,
        ema=schedule.ema,
        optimizer=lambda network: make_optimizer(network, schedule),
        rate=lambda pace: rate_factor(pace.step, pace.steps, schedule.warmup, schedule.rest),
        most_steps=schedule.most_steps,
    )
