"""Every contestant by its name."""

from collections.abc import Callable
from functools import partial

from photoz_mmae.errors import UsageError
from photoz_mmae.model.presets import load_preset, preset_names
from photoz_mmae.peers.bcnn import make_bcnn
from photoz_mmae.peers.colours import make_colours
from photoz_mmae.peers.contestant import Contestant, Frame
from photoz_mmae.peers.inception import make_inception
from photoz_mmae.peers.presets import PresetContestant

_PEERS: dict[str, Callable[[Frame], Contestant]] = {
    "inception": make_inception,
    "inception-turned": partial(make_inception, turned=True),
    "bcnn": make_bcnn,
    "bcnn-turned": partial(make_bcnn, turned=True),
    "colours": make_colours,
}


def contestant_names() -> list[str]:
    """Return the names of all contestants: the presets, then the peers."""
    return [*preset_names(), *_PEERS]


def make_contestant(name: str, frame: Frame) -> Contestant:
    """Make the contestant `name`, with random weights from torch's generator.

    Raises
    ------
    UsageError
        There is no such contestant.
    """
    if name in _PEERS:
        return _PEERS[name](frame)
    if name in preset_names():
        return PresetContestant(name, load_preset(name))
    raise UsageError(f"unknown model {name!r}; known: {', '.join(contestant_names())}")
