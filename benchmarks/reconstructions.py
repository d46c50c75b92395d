"""Ten mock objects as a model sees them: image, what is hidden, what it rebuilds, spectrum, p(z).

    python benchmarks/reconstructions.py --model base -o reconstructions.png

Mock data. Half of the patches are hidden for the rebuilt image; spectrum and p(z) come from the
whole image alone. Ten objects are drawn at random and put in order of redshift, none is chosen.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from photoz_mmae.evaluation.style import FAINT, INK, new_figure, styled
from photoz_mmae.model.dust import Dust
from photoz_mmae.model.info import find_model
from photoz_mmae.model.masking import draw_mask
from photoz_mmae.model.mmae import MMAE
from photoz_mmae.model.weights import TrainedModel, load_model
from photoz_mmae.simulation.observe import MockChunk
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.stream import simulate
from photoz_mmae.spectra.grid import relative_to_mean
from photoz_mmae.surveys import get_survey

Floats = NDArray[np.float32]

OBJECTS = 10
POOL = 500
HIDDEN = 0.5
RED_GREEN_BLUE = (2, 1, 0)  # i, r, g
BALANCE = (0.75, 1.0, 1.9)
TITLES = ("image", "half hidden", "rebuilt", "spectrum, from the image", "p(z), from the image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("-o", "--output", type=Path, default=Path("reconstructions.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(find_model(options.model))
    mock = next(iter(simulate(Recipe(get_survey(model.info.survey), options.seed), POOL)))
    rows = np.random.default_rng(options.seed).permutation(len(mock))[:OBJECTS]
    rows = rows[np.argsort(mock.redshift[rows])]
    with styled():
        figure = new_figure(1.75 * OBJECTS)
        axes = figure.subplots(OBJECTS, 5, width_ratios=(1, 1, 1, 2.2, 2.2))
        for number, row in enumerate(rows):
            draw(axes[number], model, mock, row)
        for column, title in zip(axes[0], TITLES, strict=True):
            column.set_title(title)
        axes[-1, 3].set_xlabel("wavelength  (Angstrom)")
        axes[-1, 4].set_xlabel("redshift")
        figure.suptitle(f"Mock objects, model {model.info.name}", fontsize=11)
        figure.savefig(options.output, dpi=80, metadata={"Software": None})
    print(f"{options.output}: {OBJECTS} mock objects")


@torch.inference_mode()
def draw(axes: NDArray[np.object_], model: TrainedModel, mock: MockChunk, row: int) -> None:
    """Fill one line of the picture."""
    network = model.network
    assert isinstance(network, MMAE), "a model that rebuilds from tokens"
    raw = torch.from_numpy(mock.images[row : row + 1])
    ebv = torch.from_numpy(mock.ebv[row : row + 1].astype(np.float32))
    dust = Dust(model.info.dust, model.info.extinction)
    image, ebv = dust.prepare(raw, ebv)
    tokens = network.settings.image_tokens
    hidden = draw_mask(1, tokens, HIDDEN, torch.Generator().manual_seed(int(row)))
    embedded = network.embed(image, ebv)
    encoded = network.encode(embedded)
    mass = network.redshift_logits(encoded).softmax(dim=1)[0].numpy()
    spectrum = network.decode_spectrum(encoded)[0].numpy()
    patches = network.decode_patches(network.encode(embedded, image_hidden=hidden))
    rebuilt = unstretched(network, patches)
    holes = to_pixels(hidden.float().unsqueeze(2), network.settings.patch_size)[0, 0] > 0
    shown = torch.where(holes, torch.nan, image[0])
    completed = torch.where(holes, rebuilt[0], image[0])
    for picture, pixels in zip(axes[:3], (image[0], shown, completed), strict=True):
        picture.imshow(colour(pixels.numpy()), interpolation="nearest")
        picture.set_axis_off()
    draw_spectrum(axes[3], model, mock, row, spectrum)
    draw_pdf(axes[4], model, mass, float(mock.redshift[row]), str(mock.kind[row]))


def draw_spectrum(
    axes: Axes, model: TrainedModel, mock: MockChunk, row: int, rebuilt: Floats
) -> None:
    """Draw the observed spectrum faintly, the rebuilt one over it."""
    flux, ivar, _ = relative_to_mean(
        mock.flux[row : row + 1].astype(float), mock.ivar[row : row + 1].astype(float)
    )
    wave = np.asarray(model.info.wave)
    axes.plot(wave, np.where(ivar[0] > 0, flux[0], np.nan), color=FAINT, linewidth=0.6)
    axes.plot(wave, rebuilt, color="#D55E00", linewidth=1.2)
    axes.set_ylim(min(0.0, float(rebuilt.min()) - 0.2), 1.5 * float(rebuilt.max()) + 0.3)
    axes.tick_params(labelsize=7)


def draw_pdf(axes: Axes, model: TrainedModel, mass: Floats, redshift: float, kind: str) -> None:
    """Draw the density in z, and the true redshift."""
    edges = np.expm1(np.asarray(model.info.z_edges))
    density = mass / np.diff(edges)
    axes.stairs(density, edges, fill=True, color="#0072B2", alpha=0.6)
    axes.axvline(redshift, color=INK, linewidth=1.2, linestyle="--")
    likely = edges[np.searchsorted(np.cumsum(mass), (0.002, 0.998))]
    lowest, highest = min(likely[0], redshift) - 0.05, max(likely[1], redshift) + 0.05
    axes.set_xlim(max(0.0, lowest), highest)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.text(0.97, 0.85, f"{kind}, z = {redshift:.3f}", transform=axes.transAxes, ha="right")
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def unstretched(network: MMAE, patches: Tensor) -> Tensor:
    """Bring stretched patches back to flux: (N, T, B * p * p) -> (N, B, S, S)."""
    stretched = to_pixels(patches, network.settings.patch_size, network.settings.bands)
    std, mean, noise = (
        values.view(-1, 1, 1)
        for values in (network.stretch.std, network.stretch.mean, network.stretch.noise)
    )
    return torch.sinh(stretched * std + mean) * noise


def to_pixels(patches: Tensor, size: int, bands: int = 1) -> Tensor:
    """Undo `to_patches`; one value per patch fills it: (N, T, B * p * p or 1) -> (N, B, S, S)."""
    n, tokens, _ = patches.shape
    side = round(tokens**0.5)
    cut = patches.expand(n, tokens, bands * size**2).view(n, side, side, bands, size, size)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(n, bands, side * size, side * size)


def colour(image: Floats) -> NDArray[np.uint8]:
    """Red, green, blue of i, r, g, north up; white where nothing is: (B, S, S) -> (S, S, 3)."""
    from astropy.visualization import make_lupton_rgb

    channels = [
        np.nan_to_num(image[band, ::-1]) * factor
        for band, factor in zip(RED_GREEN_BLUE, BALANCE, strict=True)
    ]
    pixels = make_lupton_rgb(*channels, minimum=-0.03, stretch=0.9, Q=9)
    pixels[np.isnan(image[0, ::-1])] = 255
    return np.asarray(pixels)


if __name__ == "__main__":
    main()
