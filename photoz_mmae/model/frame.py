"""What the images of a model are, and a preset's network for them."""

from dataclasses import dataclass, replace

from photoz_mmae.errors import InputError
from photoz_mmae.model.presets import Network, PublishedNetwork


@dataclass(frozen=True)
class Frame:
    """What the images are.

    Attributes
    ----------
    bands : tuple of str
    image_size : int
        Pixels.
    pixel_scale : float
        Arcsec per pixel.
    """

    bands: tuple[str, ...]
    image_size: int
    pixel_scale: float


def network_for(network: Network, frame: Frame, where: str) -> Network:
    """Return a preset's network for these images.

    Ours takes any number of bands, size and pixel scale; the published one stays as it is.

    Parameters
    ----------
    network : Network
    frame : Frame
    where : str
        What the images or the network come from, for the message.

    Raises
    ------
    InputError
        The network has no place for such images.
    """
    bands, size = len(frame.bands), frame.image_size
    images = f"images of {bands} bands ({''.join(frame.bands)}) and {size} x {size} pixels"
    if isinstance(network, PublishedNetwork):
        if (bands, size) != (network.bands, network.image_size):
            raise InputError(
                f"{where}: {images}; the published network takes {network.bands} bands of "
                f"{network.image_size} x {network.image_size}; the preset small takes these too"
            )
        return network
    if size < network.patch_size or size % network.patch_size:
        raise InputError(
            f"{where}: {images}; the network cuts them into patches of {network.patch_size} "
            "pixels: make their size a multiple of that"
        )
    return replace(network, bands=bands, image_size=size, pixel_scale=frame.pixel_scale)
