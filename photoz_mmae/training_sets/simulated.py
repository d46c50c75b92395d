"""A simulated survey as a training set, without a file: every epoch draws objects of its own."""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from photoz_mmae import __version__
from photoz_mmae.provenance import settings_sha256
from photoz_mmae.simulation.observe import CHUNK, MockChunk, simulate_chunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.training_sets.batch import kinds, make_batch
from photoz_mmae.training_sets.mixing import join
from photoz_mmae.training_sets.training_set import (
    Composition,
    HeldOut,
    Normalisation,
    TrainingBatch,
)

WINDOW = 4
"""Chunks that are shuffled together: 2,000 objects, 164 MB of images."""

LEAST_HELD_OUT = 20

Chunks = list[tuple[int, int]]
"""Number and size of each."""


class SimulatedSet:
    """Mock objects in three parts that share none.

    The first chunks of the survey are for validation and test; those after them are for training,
    each for one epoch only.

    Parameters
    ----------
    recipe : Recipe
    n : int
        Training objects per epoch.
    normalisation : {"paper", "relative"}
        Of the spectra.
    shares : tuple of two floats
        Of validation and test, relative to `n`.
    device : str
        Where images are made.

    Raises
    ------
    UsageError
        The extra `simulation` is not installed.
    """

    def __init__(
        self,
        recipe: Recipe,
        n: int,
        normalisation: Normalisation,
        shares: tuple[float, float],
        device: str,
    ) -> None:
        self._recipe, self._n = recipe, n
        self._normalisation, self._device = normalisation, device
        self.name = "simulation"
        self.description = (
            f"Mock data: a simulated survey ({recipe.survey.name}, {recipe.selection}), no "
            f"observation; {n:,} new objects for every epoch"
        )
        self.mock_seed: int | None = recipe.seed
        self.survey = recipe.survey
        self.wave = self._simulate(0, 1).wave
        held_out = [max(LEAST_HELD_OUT, round(share * n)) for share in shares]
        turns = len(recipe.selections)
        validation = _even_chunks(0, held_out[0], turns)
        test = _even_chunks(len(validation), held_out[1], turns)
        self._held_out = {"validation": validation, "test": test}
        self._first = len(validation) + len(test)
        self.composition = Composition(
            source=f"simulation of seed {recipe.seed}",
            split="chunks of their own; the training objects are others in every epoch",
            objects=n + sum(held_out),
            training=n,
            validation=held_out[0],
            test=held_out[1],
        )

    def sample(self, n: int) -> TrainingBatch:
        """Draw the first objects of the first epoch."""
        chunks = self._chunks_of_epoch(1)[: -(-n // CHUNK)]
        return self._draw(chunks)[:n]

    def epoch(self, epoch: int, batch_size: int, first_step: int) -> Iterator[TrainingBatch]:
        """Draw the objects of an epoch, shuffled in windows, from a step on."""
        size = min(batch_size, self._n)
        skip, start = first_step * size, 0
        chunks = self._chunks_of_epoch(epoch)
        pool: TrainingBatch | None = None
        for first in range(0, len(chunks), WINDOW):
            window = chunks[first : first + WINDOW]
            before, start = start, start + sum(count for _, count in window)
            if start <= skip:
                continue
            rng = np.random.default_rng([self._recipe.seed, epoch, first])
            order = torch.from_numpy(rng.permutation(start - before)[max(0, skip - before) :])
            drawn = self._draw(window)[order]
            pool = drawn if pool is None else join([pool, drawn])
            whole = len(pool) // size * size
            for row in range(0, whole, size):
                yield pool[row : row + size]
            pool = pool[whole:]

    def held_out(self, part: HeldOut, batch_size: int) -> Iterator[TrainingBatch]:
        """Draw the objects of a part, the same ones each time."""
        for chunk in self._held_out[part]:
            drawn = self._draw([chunk])
            for row in range(0, len(drawn), batch_size):
                yield drawn[row : row + batch_size]

    def classes(self, part: HeldOut) -> NDArray[np.str_]:
        """Class of each object of a part."""
        return np.concatenate([self._simulate(*chunk).kind for chunk in self._held_out[part]])

    def _chunks_of_epoch(self, epoch: int) -> Chunks:
        per_epoch = -(-self._n // CHUNK)
        return _chunks(self._first + (epoch - 1) * per_epoch, self._n)

    def _draw(self, chunks: Chunks) -> TrainingBatch:
        return join([self._to_batch(self._simulate(*chunk)) for chunk in chunks])

    def _to_batch(self, mock: MockChunk) -> TrainingBatch:
        weight = np.ones(len(mock))
        return make_batch(
            mock.images,
            mock.flux,
            mock.ivar,
            mock.redshift,
            weight,
            mock.ebv.astype(np.float32),
            mock.psf_fwhm.astype(np.float32),
            kinds(mock.kind),
            self._normalisation,
        )

    def _simulate(self, chunk: int, n: int) -> MockChunk:
        # The simulation is fastest, and the same everywhere, with one thread.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return simulate_chunk(self._recipe, n, chunk, self._device)
        finally:
            torch.set_num_threads(threads)


def recipe_sha256(recipe: Recipe, n: int) -> str:
    """Checksum of what decides the objects of a simulated training set."""
    names = [field.name for field in fields(recipe)]
    values = {name: str(getattr(recipe, name)) for name in names}
    if len(recipe.selections) > 1:
        values["held_out"] = "of each selection"  # not so once: other objects were held out
    return settings_sha256({**values, "n": n, "version": __version__})


def _even_chunks(first: int, n: int, turns: int) -> Chunks:
    """`n` objects in chunks, as many of each of the selections that take turns."""
    if turns == 1:
        return _chunks(first, n)
    count = turns * -(-n // (turns * CHUNK))
    sizes = [n * (k + 1) // count - n * k // count for k in range(count)]
    return list(enumerate(sizes, start=first))


def _chunks(first: int, n: int) -> Chunks:
    """`n` objects in chunks from number `first` on."""
    sizes = [min(CHUNK, n - done) for done in range(0, n, CHUNK)]
    return list(enumerate(sizes, start=first))
