"""The whole mock survey, chunk after chunk, from one process or several."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from photoz_mmae.errors import OutputError
from photoz_mmae.simulation.observe import CHUNK, MockChunk, simulate_chunk
from photoz_mmae.surveys import Survey


def simulate(survey: Survey, n: int, seed: int, workers: int = 1) -> Iterator[MockChunk]:
    """Yield `n` objects in chunks, in order; what they are does not depend on `workers`.

    Raises
    ------
    UsageError
        The extra `simulation` is not installed.
    OutputError
        A worker process died.
    """
    sizes = [min(CHUNK, n - first) for first in range(0, n, CHUNK)]
    if workers == 1 or len(sizes) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for chunk, size in enumerate(sizes):
                yield simulate_chunk(survey, size, seed, chunk)
        finally:
            torch.set_num_threads(threads)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(sizes)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    waiting: deque[Future[MockChunk]] = deque()
    try:
        # A short queue: a chunk is 41 MB, and memory is to stay flat however slow the disk is.
        for chunk, size in enumerate(sizes):
            waiting.append(pool.submit(simulate_chunk, survey, size, seed, chunk))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker process of the simulation died (out of memory?); try fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
