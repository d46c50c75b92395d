"""Every contestant by its name."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from photoz_mmae.errors import UsageError
from photoz_mmae.model.frame import Frame, network_for
from photoz_mmae.model.presets import PRESET_FILE, load_preset, preset_names
from photoz_mmae.peers.astroclip import AstroCLIP
from photoz_mmae.peers.astromae import AstroMAE
from photoz_mmae.peers.bcnn import make_bcnn
from photoz_mmae.peers.colours import make_colours
from photoz_mmae.peers.contestant import Contestant
from photoz_mmae.peers.inception import make_inception
from photoz_mmae.peers.presets import PresetContestant

_PEERS: dict[str, Callable[[Frame], Contestant]] = {
    "inception": make_inception,
    "inception-turned": partial(make_inception, turned=True),
    "bcnn": make_bcnn,
    "bcnn-turned": partial(make_bcnn, turned=True),
    "colours": make_colours,
    "astroclip": AstroCLIP,
    "astromae": AstroMAE,
}


def contestant_names() -> list[str]:
    """Return the names of all contestants: the presets, then the peers."""
    return [*preset_names(), *_PEERS]


def make_contestant(name: str, frame: Frame) -> Contestant:
    """Make the contestant `name`, with random weights from torch's generator.

    A name that ends in `.toml` is a preset of one's own: a file like those in `model/presets`.

    Raises
    ------
    UsageError
        There is no such contestant.
    InputError
        It cannot take such images.
    """
    if name in _PEERS:
        return _PEERS[name](frame)
    if name in preset_names() or name.endswith(PRESET_FILE):
        preset = load_preset(name)
        network = network_for(preset.network, frame, f"model {name}")
        called = Path(name).name.removesuffix(PRESET_FILE)
        fitted = dataclasses.replace(preset, network=network)
        return PresetContestant(called, fitted, frame.bands)
    raise UsageError(f"unknown model {name!r}; known: {', '.join(contestant_names())}")
