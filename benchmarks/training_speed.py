"""Training objects per second of networks, in one interleaved run on one CPU thread or a GPU.

    python benchmarks/training_speed.py --models base,paper

Each round makes two steps of each stage of each network's own training, at its own batch size, on
the same mock objects, without reading, validation and the average of the weights: ratios hold, the
speeds are those of the machine. The first round only warms up.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from photoz_mmae.model.dust import Dust
from photoz_mmae.model.frame import Frame
from photoz_mmae.peers.registry import make_contestant
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.surveys import HSC_WIDE
from photoz_mmae.training.dust import prepared
from photoz_mmae.training.step import Pieces, Stepper
from photoz_mmae.training_sets.batch import kinds, make_batch
from photoz_mmae.training_sets.training_set import Normalisation, TrainingBatch

FRAME = Frame(HSC_WIDE.bands, 64, HSC_WIDE.pixel_scale)
LARGEST_BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="base,paper")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps: dict[str, Callable[[], int]] = {}
    for name in options.models.split(","):
        steps |= make_steps(name, getattr(torch, options.precision), options.device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    sizes: dict[str, int] = {}
    for _ in range(options.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            sizes[name] = step()
            if options.device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    speeds = {name: sizes[name] / median(times[1:]) for name, times in seconds.items()}
    first = next(iter(speeds.values()))
    print(f"medians of {options.rounds} interleaved rounds, {options.device}, {options.precision}")
    print("| network, stage | batch | training objects/s | first / this |")
    print("|---|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {sizes[name]} | {speed:.1f} | {first / speed:.2f} |")


def make_steps(name: str, precision: torch.dtype, device: str) -> dict[str, Callable[[], int]]:
    """Make one step of each stage of a contestant's training, as a function; gives its objects."""
    contestant = make_contestant(name, FRAME)
    data = mock_objects(LARGEST_BATCH, contestant.normalisation)
    contestant.fit(data, len(data))
    contestant.network.to(device)
    data = data.to(device)
    return {
        f"{name}, {stage.name}": make_step(stage, data, precision) for stage in contestant.stages()
    }


def make_step(stage, data: TrainingBatch, precision: torch.dtype) -> Callable[[], int]:
    """Make a step of one stage."""
    course = stage.course
    batch = data[: course.batch_size]
    stepper = Stepper(
        stage.make_objective(stage.network, precision),
        course.optimizer(stage.network),
        None,
        Pieces(1, lambda line: None),
        course.clip_norm,
    )

    def step() -> int:
        # Half of the published network's batches have no spectra: both kinds take their turn.
        for number in range(2):
            stepper.step(batch, 0.0, (number,))
        return 2 * len(batch)

    return step


def mock_objects(n: int, normalisation: Normalisation) -> TrainingBatch:
    """Give `n` mock objects as a network is trained on them."""
    mock = next(iter(simulate(Recipe(HSC_WIDE, 0), n)))
    batch = make_batch(
        mock.images,
        mock.flux,
        mock.ivar,
        mock.redshift,
        np.ones(n),
        mock.ebv.astype("f4"),
        mock.psf_fwhm.astype("f4"),
        kinds(mock.kind),
        normalisation,
    )
    return prepared(batch, Dust("deredden", HSC_WIDE.extinction))


if __name__ == "__main__":
    main()
