"""Presets: the sizes of a network and how it is trained, from `presets/NAME.toml`."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from photoz_mmae.errors import InputError, ModelError, UsageError

_STRICT = ConfigDict(extra="forbid")

PRESET_FILE = ".toml"


@dataclass(frozen=True, config=_STRICT)
class PublishedNetwork:
    """Sizes of the published network (arXiv:2510.22527)."""

    kind: Literal["published"] = "published"
    bands: int = 5
    image_size: int = 64
    patch_size: int = 8
    spectrum_pixels: int = 259
    spectrum_patch_size: int = 8
    width: int = 256
    depth: int = 4
    heads: int = 8
    fusion_blocks: int = 4
    dropout: float = 0.1

    @property
    def image_tokens(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def spectrum_tokens(self) -> int:
        """Complete runs of pixels of a spectrum."""
        return self.spectrum_pixels // self.spectrum_patch_size

    @property
    def embedding_size(self) -> int:
        """Numbers that the redshift head reads: the two pooled modalities."""
        return 2 * self.width


@dataclass(frozen=True, config=_STRICT)
class MMAENetwork:
    """Sizes of our network.

    Attributes
    ----------
    colours : bool
        Whether the flux token has ratios of adjacent bands and apertures.
    dropout : float
        In the flux token and the redshift head.
    hides_fluxes : bool
        Whether hidden patches are hidden from the apertures, too.
    seeing : bool
        Whether the flux token is told the PSF's width per band, where it is known.
    classes : tuple of str
        What objects are told apart; training keeps those that its data know, or none. Where stars
        are, p(z) is that of an object that is none.
    """

    kind: Literal["mmae"] = "mmae"
    bands: int = 5
    image_size: int = 64
    pixel_scale: float = 0.168
    patch_size: int = 8
    spectrum_pixels: int = 259
    spectrum_patch_size: int = 8
    width: int = 96
    depth: int = 3
    heads: int = 4
    decoder_width: int = 64
    redshift_bins: int = 320
    redshift_max: float = 6.0
    colours: bool = False
    dropout: float = 0.0
    hides_fluxes: bool = False
    seeing: bool = False
    classes: tuple[Literal["galaxy", "qso", "star"], ...] = ()

    @property
    def image_tokens(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def spectrum_tokens(self) -> int:
        """Runs of pixels of a spectrum; the last one is padded."""
        return -(-self.spectrum_pixels // self.spectrum_patch_size)

    @property
    def embedding_size(self) -> int:
        """Numbers that the redshift head reads: summary and flux token."""
        return 2 * self.width


@dataclass(frozen=True, config=_STRICT)
class Schedule:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch_size : int
    most_steps : int
        There are fewer epochs where that many are more steps, the last one made to its end: many
        objects need not be seen so often. 0: there are always `epochs`.
    learning_rate, weight_decay, clip_norm : float
        Of AdamW; the gradient's norm is clipped.
    warmup : float
        Share of the steps with a rising learning rate; 0: the rate is constant throughout.
    rest : float
        Share of the steps, the last ones, at a hundredth of the learning rate: for the weights'
        average to settle.
    image_hidden : tuple of two floats
        The share of hidden image tokens is drawn from this range.
    spectrum_hidden : tuple of two floats
        The same for the spectrum.
    spectrum_dropped : float
        Share of the objects (`published`: probability for the whole batch) without spectrum.
    image_dropped : float
        Share of the objects that are shown as a spectrum alone.
    redshift_jitter : float
        Half of the objects are moved by so much (a standard deviation) in ln(1+z), as their
        spectra say; see `photoz_mmae.training.redshifted`.
    conditions_varied : float
        Share of the objects whose images are seen with a wider PSF, more noise, other zero points
        and moved by parts of a pixel; see `photoz_mmae.training.conditions`.
    image_weight, spectrum_weight : float
        Of the reconstruction losses, beside 1 for the redshift.
    validation_share, test_share : float
        Shares of the objects that are kept for validation and for the test.
    patience : int
        Training ends after so many epochs without a lower validation loss; 0: it never does.
    ema : float
        Decay per step of the weights' moving average, which is what is validated and saved;
        0: none is taken.
    bands_dropped : float
        Share of the objects that are shown without one or more of their bands; 0: the network
        has no place for missing bands.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    warmup: float
    image_hidden: tuple[float, float]
    spectrum_hidden: tuple[float, float]
    spectrum_dropped: float
    image_weight: float
    spectrum_weight: float
    validation_share: float
    test_share: float
    patience: int
    ema: float
    bands_dropped: float = 0.0
    image_dropped: float = 0.0
    redshift_jitter: float = 0.0
    conditions_varied: float = 0.0
    most_steps: int = 0
    rest: float = 0.0


Network = PublishedNetwork | MMAENetwork

LATER_SETTINGS: dict[str, Any] = {
    "colours": False,
    "dropout": 0.0,
    "hides_fluxes": False,
    "seeing": False,
    "classes": (),
    "bands_dropped": 0.0,
    "image_dropped": 0.0,
    "redshift_jitter": 0.0,
    "conditions_varied": 0.0,
    "most_steps": 0,
    "rest": 0.0,
}
"""Settings of our network and its schedule that came later, as they are of whatever is older."""

DustTreatment = Literal["none", "deredden", "input"]
"""What is done about Galactic reddening; see `photoz_mmae.model.dust`."""

MissingBands = Literal["refused", "trained"]
"""Whether a network was trained to do without bands, or cannot."""


@dataclass(frozen=True, config=_STRICT)
class Preset:
    """A named network, its treatment of Galactic dust, and its schedule."""

    description: str
    dust: DustTreatment
    network: Network
    training: Schedule

    @property
    def missing_bands(self) -> MissingBands:
        """What becomes of objects without all bands."""
        return "trained" if self.training.bands_dropped else "refused"


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("photoz_mmae.model") / "presets"
    return sorted(entry.name.removesuffix(PRESET_FILE) for entry in folder.iterdir())


def load_preset(name: str) -> Preset:
    """Read the preset called `name`, or that of a file of one's own, `name` ending in `.toml`.

    Raises
    ------
    InputError
        The file cannot be read, or holds no preset.
    UsageError
        There is no preset of this name.
    """
    if name.endswith(PRESET_FILE):
        return _read_preset(Path(name))
    if name not in preset_names():
        raise UsageError(
            f"unknown preset {name!r}; known: {', '.join(preset_names())}, or a file {PRESET_FILE}"
        )
    text = (resources.files("photoz_mmae.model") / "presets" / f"{name}{PRESET_FILE}").read_text()
    return TypeAdapter(Preset).validate_python(tomllib.loads(text))


def _read_preset(path: Path) -> Preset:
    try:
        return TypeAdapter(Preset).validate_python(tomllib.loads(path.read_bytes().decode()))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: no preset: {where}: {first['msg']}") from error


def parse_network(settings: dict[str, Any], where: str) -> Network:
    """Turn the sizes stored with a model into a network's settings; raises ModelError."""
    try:
        network: Network = TypeAdapter(Network).validate_python(settings)
    except ValidationError as error:
        raise ModelError(f"{where}: not a network this version knows ({error})") from error
    return network
