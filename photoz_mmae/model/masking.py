"""Which tokens are hidden: drawn from a generator, or a fixed set that hides each token in turn."""

import torch
from torch import Tensor

HIDDEN_SHARE = 0.25
"""Share of the image hidden in each of the repeated passes of a prediction."""


def draw_mask(
    n: int, tokens: int, ratio: float, generator: torch.Generator | None = None
) -> Tensor:
    """Hide `int(ratio * tokens)` tokens of each object, chosen at random.

    Parameters
    ----------
    n, tokens : int
        Number of objects and of tokens per object.
    ratio : float
        Share of tokens to hide, 0 to 1.
    generator : torch.Generator, optional
        Where the randomness comes from.

    Returns
    -------
    Tensor of bool, (n, tokens)
        True where hidden.
    """
    order = torch.rand(n, tokens, generator=generator).argsort(dim=1)
    return order < int(ratio * tokens)


def repeated_masks(tokens: int, repeats: int, seed: int = 0) -> Tensor:
    """Make a fixed set of masks that each hide a quarter of the tokens, four of them all tokens.

    The same masks serve every object, so that a prediction does not depend on its neighbours in
    the batch.

    Returns
    -------
    Tensor of bool, (repeats, tokens)
        True where hidden.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = round(1 / HIDDEN_SHARE)
    masks: list[Tensor] = []
    while len(masks) < repeats:
        for part in torch.randperm(tokens, generator=generator).tensor_split(parts):
            mask = torch.zeros(tokens, dtype=torch.bool)
            mask[part] = True
            masks.append(mask)
    return torch.stack(masks[:repeats]) if repeats else torch.zeros(0, tokens, dtype=torch.bool)


def visible_tokens(tokens: Tensor, hidden: Tensor | None) -> Tensor:
    """Leave the hidden tokens out: (N, T, W), (N, T) -> (N, V, W), in their order.

    Every object must hide the same number of tokens.
    """
    if hidden is None:
        return tokens
    n, _, width = tokens.shape
    return tokens[~hidden].view(n, int((~hidden[:1]).sum()), width)
