"""One chunk of the mock survey: drawn, given spectra, rendered, and seen through noise."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation import defects, fibre, population
from photoz_mmae.simulation.exposure import expose, sky_noise
from photoz_mmae.simulation.fibre import Light
from photoz_mmae.simulation.pointing import (
    Pointings,
    draw_ebv,
    draw_pointings,
    get_conditions,
)
from photoz_mmae.simulation.population import CLASSES, QSO, STAR, Targets
from photoz_mmae.simulation.recipe import Recipe
from photoz_mmae.simulation.scene import COARSE_STEP, place
from photoz_mmae.simulation.sed import GalaxySeds, SedModel, get_model, load_curves
from photoz_mmae.simulation.sources import Clumps, Sources, join
from photoz_mmae.surveys import ZERO_POINT, Survey

Floats = NDArray[np.float64]

CHUNK = 500
"""Objects that are generated together, from one seed."""

_FINE_STEP = 4e-4  # ln(wavelength) of targets' spectra: 2.4 A at 6000 A


@dataclass
class MockChunk:
    """N mock objects with everything that is known about them.

    Attributes
    ----------
    images : (N, B, 64, 64) float32
        Flux at AB zero point 27, with noise.
    flux, ivar : (N, P) float32
        Fibre spectrum with noise, 1e-17 erg/s/cm2/A, and its inverse variance.
    wave : (P,) float64
        Wavelengths of the spectrum's pixels, Angstrom.
    redshift : (N,) float64
    mag : (N, B) float64
        Noise-free total AB magnitude of the target as seen, Galactic reddening included.
    cmodel_mag : (N, B) float64
        `mag` with noise of its own, a point's and 1 per cent: not that of the image.
    kind : (N,) str
        One of `population.CLASSES`.
    morphtype : (N,) bytes
        PSF, REX, EXP, DEV or SER, as a pipeline would classify.
    ebv : (N,) float64
        Galactic E(B-V).
    psf_fwhm : (N, B) float64
        Of the stamp's patch, arcsec.
    sky_noise : (N, B) float64
        Standard deviation of the sky per pixel, flux at AB zero point 27.
    ra, dec : (N,) float64
        deg.
    object_id : (N,) int64
    offset : (N, 2) float64
        Where the target is: x, y in pixels from the centre of the stamp.
    legacy_flux : (N, 3) float32
        r, W1, W2 in nanomaggies.
    defect : (N,) str
        What is wrong with the stamp: one of `defects.DEFECTS`, or "".
    damage : dict of int to Damage
        Where it is wrong: rows with a defect, those off the centre left out.
    """

    images: NDArray[np.float32]
    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]
    wave: Floats
    redshift: Floats
    mag: Floats
    cmodel_mag: Floats
    kind: NDArray[np.str_]
    morphtype: NDArray[np.bytes_]
    ebv: Floats
    psf_fwhm: Floats
    sky_noise: Floats
    ra: Floats
    dec: Floats
    object_id: NDArray[np.int64]
    offset: Floats
    legacy_flux: NDArray[np.float32]
    defect: NDArray[np.str_]
    damage: dict[int, defects.Damage] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.redshift)


@dataclass
class TargetLight:
    """What reaches the Earth's air of N targets, before the Galaxy's dust.

    `parts` are the band fluxes (N, B) of bulge, disk and point at zero point 27; `fibre` the
    spectrum (N, P) in the fibre; `legacy` r, W1, W2 (N, 3) in nanomaggies.
    """

    parts: list[Floats]
    fibre: NDArray[np.float32]
    legacy: NDArray[np.float32]


@dataclass
class Scene:
    """What is on N stamps, before seeing and noise.

    Attributes
    ----------
    targets : Targets
    light : TargetLight
    pointings : Pointings
    ebv : (N,) float64
        Galactic E(B-V).
    total : (N, B) float64
        Flux of the targets behind the Galaxy's dust, at AB zero point 27.
    offset : (N, 2) float64
        Where the target is: x, y in pixels from the centre of the stamp.
    defect : (N,) str
        What is to be wrong with the stamp, or "".
    own : Sources
        Bulges, disks and points of the targets, without `clumps`.
    clumps : Clumps
        Of the targets.
    neighbours : Sources
    """

    targets: Targets
    light: TargetLight
    pointings: Pointings
    ebv: Floats
    total: Floats
    offset: Floats
    defect: NDArray[np.str_]
    own: Sources
    clumps: Clumps
    neighbours: Sources


def draw_scene(
    rng: np.random.Generator, recipe: Recipe, n: int, chunk: int, device: str = "cpu"
) -> Scene:
    """Draw what is on the stamps of a chunk; `recipe` has one selection."""
    survey = recipe.survey
    targets = population.draw_targets(rng, n, recipe)
    pointings = draw_pointings(rng, n)
    ebv = draw_ebv(rng, n)
    if recipe.ebv is not None:
        ebv = np.full(n, recipe.ebv)
    reddening = 10 ** (-0.4 * ebv[:, None] * np.array(survey.extinction))  # (N, B)
    light = light_of(targets, survey, recipe.spectrum_pixels, device)
    parts = [flux * reddening for flux in light.parts]
    # Cut to the nearest pixel; short of one half, so that rounding never moves a stamp by one.
    offset = rng.uniform(-0.48, 0.48, (n, 2))
    defect = defects.draw_defects(recipe, n, chunk)
    offset += defects.draw_shifts(recipe, defect, chunk)
    own, clumps, neighbours = place(rng, survey, targets.galaxies, parts, offset, reddening)
    total = np.sum(parts, axis=0)
    return Scene(targets, light, pointings, ebv, total, offset, defect, own, clumps, neighbours)


def simulate_chunk(recipe: Recipe, n: int, chunk: int, device: str = "cpu") -> MockChunk:
    """Generate `n` objects (at most `CHUNK`) of the mock survey.

    On a CPU the result depends on the recipe, `n` and `chunk` alone, but for the last digits, which
    another processor may round otherwise. Object ids are those of rows `chunk * CHUNK` on.

    Raises
    ------
    UsageError
        The extra `simulation` is not installed.
    """
    recipe = recipe.of_chunk(chunk)
    survey = recipe.survey
    rng = np.random.default_rng([recipe.seed, chunk])
    scene = draw_scene(rng, recipe, n, chunk, device)
    targets, patch, ebv, total = scene.targets, scene.pointings.patch, scene.ebv, scene.total
    noise = sky_noise(survey, patch)
    everything = join(scene.own, scene.neighbours)
    images = expose(rng, survey, everything, scene.clumps, patch, device)
    wave = fibre.wave_of(recipe.spectrum_pixels)
    curve = np.interp(wave, [c[0][c[1].argmax()] for c in load_curves(survey)], survey.extinction)
    dimmed = scene.light.fibre * 10 ** (-0.4 * ebv[:, None] * curve).astype(np.float32)
    flux, ivar = fibre.add_noise(rng, dimmed, targets.kind)
    made = MockChunk(
        images=images,
        flux=flux,
        ivar=ivar,
        wave=wave,
        redshift=targets.z,
        mag=ZERO_POINT - 2.5 * np.log10(total),
        cmodel_mag=_measure(rng, noise, total),
        kind=np.array(CLASSES)[targets.kind],
        morphtype=_morphtypes(targets),
        ebv=ebv,
        psf_fwhm=get_conditions(survey).psfs.fwhm[patch] * survey.pixel_scale,
        sky_noise=noise,
        ra=scene.pointings.ra,
        dec=scene.pointings.dec,
        object_id=object_ids(recipe.seed, chunk * CHUNK, n),
        offset=scene.offset,
        legacy_flux=scene.light.legacy,
        defect=scene.defect,
    )
    defects.plant(made, recipe, chunk)
    return made


def object_ids(seed: int, first: int, n: int) -> NDArray[np.int64]:
    """Ids (n,) of rows `first` on: 17 digits, the seed's last six and the row's ten among them."""
    return 40_000_000_000_000_000 + seed % 1_000_000 * 10_000_000_000 + np.arange(first, first + n)


def light_of(
    targets: Targets, survey: Survey, n_pixels: int = 259, device: str = "cpu"
) -> TargetLight:
    """Compute what targets send: band fluxes per component, fibre spectrum, infrared."""
    model = get_model(survey, _FINE_STEP, device)
    galaxies, z, n = targets.galaxies, targets.z, len(targets)
    spectra, points = _spectra(model, targets, fine=n_pixels == fibre.FINE_PIXELS)
    parts, weights, norm = _band_fluxes(model, targets, spectra, points)
    radii = np.stack([galaxies.bulge_radius, galaxies.disk_radius, np.zeros(n)])
    scale = (weights * norm * fibre.caught(radii)).astype(np.float32)[:, :, None]  # (3, N, 1)
    spectrum = sum(
        fibre.pixels(model, light, z, n_pixels) * scale[k] for k, light in enumerate(spectra)
    )
    for rows, light in points:
        spectrum[rows] += fibre.pixels(model, light, z[rows], n_pixels) * scale[2, rows]
    quasar, star = targets.kind == QSO, targets.kind == STAR
    legacy = np.empty((n, 3), dtype=np.float32)
    legacy[:, 0] = parts.sum(axis=0)[:, survey.bands.index("r")] * 10 ** (-0.4 * 4.5)
    for column, wave in ((1, 3.368e4), (2, 4.618e4)):
        infrared = weights[0] * model.infrared(galaxies.bulge, galaxies.z, wave)
        infrared += weights[1] * model.infrared(galaxies.disk, galaxies.z, wave)
        # Hot dust: the near-infrared f_lambda of quasars falls as 1 / wave only.
        infrared[quasar] += weights[2, quasar] * 0.4 * (wave / (1 + z[quasar]) / 1e4) ** -1.0
        infrared[star] += (wave / 5500.0) ** -4.0  # Rayleigh-Jeans
        # 1e-17 erg/s/cm2/A to nanomaggies.
        legacy[:, column] = infrared * norm * wave**2 / 2.998e18 * 1e-17 / 3.631e-29
    return TargetLight(list(parts), spectrum, legacy)


def band_fluxes_of(targets: Targets, survey: Survey) -> Floats:
    """Total band fluxes (N, B) of targets before the Galaxy's dust: quick, no spectra."""
    model = get_model(survey, COARSE_STEP)
    parts, _, _ = _band_fluxes(model, targets, *_spectra(model, targets, fine=False))
    total: Floats = parts.sum(axis=0)
    return total


def _spectra(
    model: SedModel, targets: Targets, fine: bool
) -> tuple[list[Light], list[tuple[NDArray[np.int64], Light]]]:
    """Observed spectra of bulges and disks (N rows each), and of points, with their rows."""
    galaxies, z = targets.galaxies, targets.z
    spectra = [
        _galaxy_light(model, galaxies.bulge, galaxies.z, fine),
        _galaxy_light(model, galaxies.disk, galaxies.z, fine),
    ]
    quasar, star = np.flatnonzero(targets.kind == QSO), np.flatnonzero(targets.kind == STAR)
    points = [
        (rows, Light(model.observe(rest, z[rows])))
        for rows, rest in (
            (quasar, model.quasars(targets.quasars)),
            (star, model.stars(targets.temperature)),
        )
        if len(rows)
    ]
    return spectra, points


def _band_fluxes(
    model: SedModel,
    targets: Targets,
    spectra: list[Light],
    points: list[tuple[NDArray[np.int64], Light]],
) -> tuple[Floats, Floats, Floats]:
    """Band fluxes (3, N, B) of bulge, disk and point; the weight (3, N) and norm (N,) of each."""
    galaxies = targets.galaxies
    fluxes = [model.band_fluxes(light.total) for light in spectra]
    point = np.zeros_like(fluxes[0])
    for rows, light in points:
        point[rows] = model.band_fluxes(light.total)
    weights = np.stack(
        [
            targets.host_share * galaxies.bulge_share,
            targets.host_share * (1.0 - galaxies.bulge_share),
            1.0 - targets.host_share,
        ]
    )  # (3, N)
    parts = np.stack([fluxes[0], fluxes[1], point]) * weights[:, :, None]  # (3, N, B)
    seen = parts.sum(axis=0)[np.arange(len(targets)), galaxies.band]
    norm = 10 ** (-0.4 * (galaxies.mag - ZERO_POINT)) / seen
    return parts * norm[:, None], weights, norm


def _galaxy_light(model: SedModel, seds: GalaxySeds, z: Floats, fine: bool) -> Light:
    """Observe a component; for fine spectra its lines apart from the continuum too."""
    total = model.observe(model.galaxies(seds), z)
    if not fine:
        return Light(total)
    continuum = model.observe(model.galaxies(seds, with_lines=False), z)
    # `observe` keeps the rest-frame density per Angstrom, over which a line is wider by 1 + z.
    return Light(total, continuum, model.line_luminosities(seds) * (1.0 + z)[:, None])


def flux_error(sky_noise: Floats, flux: Floats) -> Floats:
    """Give the standard error (N, B) of a pipeline's profile fits: 1 per cent and the sky's noise.

    An observer, who does not know the true fluxes (N, B), has it from the measured ones.
    `sky_noise` (N, B) is that of a pixel.
    """
    error: Floats = np.hypot(0.01 * flux, 10.0 * sky_noise)
    return error


def _measure(rng: np.random.Generator, sky_noise: Floats, total: Floats) -> Floats:
    """Magnitudes (N, B) as a pipeline would measure them."""
    flux = total + rng.normal(0.0, 1.0, total.shape) * flux_error(sky_noise, total)
    return np.asarray(ZERO_POINT - 2.5 * np.log10(np.maximum(flux, 1e-3)))


def _morphtypes(targets: Targets) -> NDArray[np.bytes_]:
    """Types as a profile-fitting pipeline would give them."""
    galaxies = targets.galaxies
    kind = np.full(len(targets), b"SER")
    small = np.maximum(galaxies.bulge_radius, galaxies.disk_radius) < 0.25
    kind[galaxies.bulge_share > 0.75] = b"DEV"
    kind[galaxies.bulge_share < 0.15] = b"EXP"
    kind[small | ((galaxies.mag > 21.5) & (galaxies.bulge_share < 0.3))] = b"REX"
    kind[(targets.kind == QSO) & (targets.host_share < 0.25)] = b"PSF"
    kind[targets.kind == STAR] = b"PSF"
    return kind
