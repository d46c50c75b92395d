"""Training, validation and test: by blocks of the sky, or as the published network was trained."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset, random_split

TRAINING, VALIDATION, TEST = 0, 1, 2

_TRACT_BITS = 42  # an HSC object id is tract << 42 | patch and number


def sky_blocks(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Blocks of 1 degree in declination and about 1 degree along it, (N, 2) -> (N,).

    Parameters
    ----------
    positions : array, (N, 2)
        Right ascension and declination in degrees.
    """
    ra, dec = positions.T
    row = np.clip(np.floor(dec + 90), 0, 179)
    columns = np.maximum(1, np.round(360 * np.cos(np.radians(row - 89.5))))
    column = np.minimum(np.floor(ra % 360 / 360 * columns), columns - 1)
    return np.asarray(row * 360 + column, dtype=np.int64)


def hsc_tracts(object_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """HSC's tracts, about 1.5 degrees wide, from the upper bits of the ids: (N,) -> (N,)."""
    return object_id >> _TRACT_BITS


def split_blocks(
    blocks: NDArray[np.int64], validation_share: float, test_share: float, seed: int
) -> NDArray[np.int8]:
    """Give whole blocks to validation and test, at random, until their shares are about reached.

    Each part gets at least one block; where there are only two, the test gets none.

    Parameters
    ----------
    blocks : array of int, (N,)
        At least two different ones.

    Returns
    -------
    array, (N,)
        TRAINING, VALIDATION or TEST.
    """
    names, index, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    part = np.full(len(names), TRAINING, dtype=np.int8)
    order = np.random.default_rng(seed).permutation(len(names))
    for number, share in ((VALIDATION, validation_share), (TEST, test_share)):
        goal, got = share * len(blocks), 0
        free = order[part[order] == TRAINING]
        # One block is for training, and one for the test that comes after the validation.
        most = len(free) - 1 - (number == VALIDATION and test_share > 0 and len(free) > 2)
        taken: list[int] = []
        for block in free:
            closer = abs(got + sizes[block] - goal) < abs(got - goal)
            if closer and len(taken) < most:
                taken.append(block)
                got += int(sizes[block])
        if share and not taken and most:
            taken = [free[np.argmin(sizes[free])]]
        part[taken] = number
    return part[index]


def close_pairs(
    positions: NDArray[np.float64], part: NDArray[np.int8], radius: float
) -> NDArray[np.bool_]:
    """Objects to drop so that none is left within `radius` (arcsec) of one of another part.

    Of two, the one of the smaller number goes: training before validation before test.

    Returns
    -------
    array of bool, (N,)
    """
    from scipy.spatial import KDTree

    ra, dec = np.radians(positions).T
    xyz = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    first, second = KDTree(xyz).query_pairs(chord, output_type="ndarray").T
    drop = np.zeros(len(part), dtype=bool)
    drop[first[part[first] < part[second]]] = True
    drop[second[part[second] < part[first]]] = True
    return drop


def published_split(n: int) -> NDArray[np.int8]:
    """Split `n` rows 70/15/15 as the published network's training did (astrodatalab/himes_2025).

    Returns
    -------
    array, (n,)
        TRAINING, VALIDATION or TEST.
    """
    training, validation = int(0.7 * n), int(0.15 * n)
    lengths = [training, validation, n - training - validation]
    parts: list[Subset[int]] = random_split(range(n), lengths, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    part = np.empty(n, dtype=np.int8)
    for number, subset in enumerate(parts):
        part[np.asarray(subset.indices, dtype=np.int64)] = number
    return part
