"""What the objectives of several networks have in common."""

import torch
from torch import Tensor

from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.presets import Schedule
from photoz_mmae.training.views import Shares
from photoz_mmae.training_sets.training_set import TrainingBatch


def sum_losses(
    schedule: Schedule, shares: Shares, image: Tensor, spectrum: Tensor, redshift: Tensor
) -> dict[str, Tensor]:
    """Losses of each object (N,) to the view's part of the batch's means and of their total."""
    parts = {
        "image": (shares.image * image).sum(),
        "spectrum": (shares.spectrum * spectrum).sum(),
        "redshift": (shares.redshift * redshift).sum(),
    }
    total = (
        parts["redshift"]
        + schedule.image_weight * parts["image"]
        + schedule.spectrum_weight * parts["spectrum"]
    )
    return {"total": total, **parts}


def autocast(image: Tensor, precision: torch.dtype) -> torch.autocast:
    """Matrix products in `precision`, on the images' device."""
    return torch.autocast(image.device.type, precision, enabled=precision != torch.float32)


def hide(batch: TrainingBatch, tokens: int, ratio: float, generator: torch.Generator) -> Tensor:
    return draw_mask(len(batch), tokens, ratio, generator).to(batch.image.device)


def nothing_hidden(batch: TrainingBatch, tokens: int) -> Tensor:
    return batch.image.new_zeros((len(batch), tokens), dtype=torch.bool)


def draw(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * torch.rand((), generator=generator).item()


def symmetries(image: Tensor) -> Tensor:
    """Turn and mirror: each eighth of the batch in one of the square's eight ways."""
    turned = []
    for index, part in enumerate(image.tensor_split(8)):
        part = part.rot90(index % 4, dims=(2, 3))
        turned.append(part.flip(3) if index >= 4 else part)
    return torch.cat(turned)
