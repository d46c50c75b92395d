"""The whole mock survey, chunk after chunk, from one process or several."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from threading import Thread

import torch

from photoz_mmae.errors import OutputError
from photoz_mmae.simulation.observe import CHUNK, MockChunk, simulate_chunk
from photoz_mmae.simulation.recipe import Recipe

_stop: Event  # of a worker process: set when its parent wants no more chunks


def simulate(recipe: Recipe, n: int, workers: int = 1, device: str = "cpu") -> Generator[MockChunk]:
    """Yield `n` objects in chunks, in order; what they are does not depend on `workers`.

    On a GPU this process alone does the work.

    Raises
    ------
    UsageError
        The extra `simulation` is not installed.
    OutputError
        A worker process died.
    """
    sizes = [min(CHUNK, n - first) for first in range(0, n, CHUNK)]
    if workers == 1 or len(sizes) == 1 or device != "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for chunk, size in enumerate(sizes):
                yield simulate_chunk(recipe, size, chunk, device)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(sizes)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(stop,),
    )
    waiting: deque[Future[MockChunk | None]] = deque()

    def next_chunk() -> MockChunk:
        chunk = waiting.popleft().result()
        assert chunk is not None  # only after `stop`, when nobody asks any more
        return chunk

    try:
        # A short queue: a chunk is 41 MB, and memory is to stay flat however slow the disk is.
        for chunk, size in enumerate(sizes):
            waiting.append(pool.submit(_work, recipe, size, chunk))
            if len(waiting) > workers + 1:
                yield next_chunk()
        while waiting:
            yield next_chunk()
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker process of the simulation died (out of memory?); try fewer --workers"
        ) from error
    finally:
        # Left early, chunks in the queue are not begun: a worker must not be killed instead, as
        # half a result in the pipe would block the pool for ever.
        stop.set()
        pool.shutdown(cancel_futures=True)


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_leave_with_parent, daemon=True).start()


def _work(recipe: Recipe, n: int, chunk: int) -> MockChunk | None:
    return None if _stop.is_set() else simulate_chunk(recipe, n, chunk)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
