"""How the learning rate goes, which parameters it is lower for, and the weights' average."""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from photoz_mmae.model.presets import Schedule

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW; positions and query tokens learn at a tenth of the rate, without decay."""
    slow: list[nn.Parameter] = []
    usual: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_query = any(word in name for word in ("pos", "cls_token", "queries", "summary"))
        (slow if is_query else usual).append(parameter)
    rate = schedule.learning_rate
    return torch.optim.AdamW(
        [
            {"params": usual, "lr": rate, "weight_decay": schedule.weight_decay},
            {"params": slow, "lr": 0.1 * rate, "weight_decay": 0.0},
        ]
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rates to `factor` times those the optimiser was made with."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = factor * group["initial_lr"]


RESTING = 0.01
"""Of the learning rate."""


def rate_factor(step: int, steps: int, warmup: float, rest: float = 0.0) -> float:
    """Share of the learning rate at a step: a linear rise, a cosine to 0 or to rest, the rest.

    With `warmup` 0 the rate is constant, as published.
    """
    if not warmup:
        return 1.0
    rise, end = max(1, round(warmup * steps)), steps - round(rest * steps)
    if step < rise:
        return (step + 1) / rise
    lowest = RESTING if rest else 0.0
    if step >= end:
        return lowest
    fall = 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, end - rise)))
    return max(lowest, fall)


def make_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Exponential moving average of the weights; None for a decay of 0.

    While few steps are made the decay is lower, (1 + n) / (10 + n), so that the random beginning is
    soon forgotten.
    """
    if not decay:
        return None

    def average(means: Tensors, values: Tensors, steps: Tensor | int) -> None:
        n = int(steps)  # for all weights at once: on a GPU this waits for all that was asked of it
        update = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        update(means, values, steps)

    return AveragedModel(network, multi_avg_fn=average)
