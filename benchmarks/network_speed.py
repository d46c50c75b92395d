"""Objects per second through the networks, image only, in one interleaved run on one CPU thread.

    python benchmarks/network_speed.py

`paper, as published` runs every branch of the published network; `paper, image only` is the same
answer without what an absent spectrum makes constant or idle (see `PublishedMMAE.redshift_of`).
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.presets import load_preset
from photoz_mmae.model.published import PublishedMMAE
from photoz_mmae.model.weights import build_network


def contenders() -> dict[str, Callable[[Tensor], object]]:
    """Make what is timed: each takes images (N, 5, 64, 64)."""
    torch.manual_seed(0)
    paper = build_network(load_preset("paper").network).eval()
    base = build_network(load_preset("base").network).eval()
    assert isinstance(paper, PublishedMMAE)
    assert isinstance(base, MMAE)

    def read_base(images: Tensor) -> tuple[Tensor, Tensor]:
        encoded = base.encode(base.embed(images))
        return base.redshift_logits(encoded), base.decode_spectrum(encoded)

    return {
        "paper, as published": lambda images: paper(images, None),
        "paper, image only": paper.redshift_of,
        "base: p(z) and spectrum": read_base,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = contenders()
    images = torch.randn(options.batch, 5, 64, 64)
    seconds: dict[str, list[float]] = {}
    with torch.inference_mode():
        for _ in range(options.rounds + 1):
            for name, run in networks.items():
                start = time.perf_counter()
                run(images)
                seconds.setdefault(name, []).append(time.perf_counter() - start)
    slowest = median(seconds["paper, as published"][1:])
    print(f"batch {options.batch}, medians of {options.rounds} interleaved rounds, one thread")
    print("| network | objects/s | ratio |")
    print("|---|---|---|")
    for name, times in seconds.items():
        # The first round warms up.
        middle = median(times[1:])
        print(f"| {name} | {options.batch / middle:.0f} | {slowest / middle:.2f} |")


if __name__ == "__main__":
    main()
