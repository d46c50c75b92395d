"""One chunk of the mock survey: drawn, given spectra, rendered, and seen through noise."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from photoz_mmae.simulation import population
from photoz_mmae.simulation.population import BGS, CLASSES, ELG, LRG, QSO, Targets
from photoz_mmae.simulation.render import LARGE_RADIUS, STAMP, Psfs, Sources, render
from photoz_mmae.simulation.scene import place
from photoz_mmae.simulation.sed import WAVE, SedModel, get_model, load_curves
from photoz_mmae.surveys import ZERO_POINT, Survey

CHUNK = 500
"""Objects that are generated together, from one seed."""

_FINE_STEP = 4e-4  # ln(wavelength) of targets' spectra: 2.4 A at 6000 A

# Sky noise per pixel over the standard deviation of the negative pixels. 1 / 0.603 holds for
# white noise alone; here measured on the mock itself, so that the published values come out.
_SKY_OVER_NEGATIVE = 1.70
_DEPTH_SCATTER = 0.08  # ln, from stamp to stamp, all bands together
_ZERO_POINT_JITTER = 0.015  # mag, per stamp and band
_MEDIAN_EBV, _EBV_SCATTER = 0.035, 0.5
_PSF_POOL = 100
_EXPOSURE = {"g": 600.0, "r": 600.0, "i": 1200.0, "z": 1200.0, "y": 1200.0}  # s, HSC wide
_AREA = 4.9e5  # cm^2, the Subaru telescope's open aperture

# Noise (1e-17 erg/s/cm2/A, rms per 24 A) between sky lines at 7000 A, per class: bright time for
# BGS, longer exposures for the rest; set for median S/N of 9 (BGS), 3.5, 1.4 and 3.9.
_FIBRE_NOISE = {BGS: 0.08, LRG: 0.042, ELG: 0.05, QSO: 0.10}
_FIBRE_RADIUS, _FIBRE_SEEING = 0.75, 0.55  # arcsec; half-light radius of the seeing


@dataclass
class MockChunk:
    """N mock objects with everything that is known about them.

    Attributes
    ----------
    images : (N, B, 64, 64) float32
        Flux at AB zero point 27, with noise.
    flux, ivar : (N, 259) float32
        Fibre spectrum with noise, 1e-17 erg/s/cm2/A, and its inverse variance.
    wave : (259,) float64
        Centres of the spectrum's pixels, Angstrom.
    redshift : (N,) float64
    mag : (N, B) float64
        Noise-free total AB magnitude of the target as seen, Galactic reddening included.
    cmodel_mag : (N, B) float64
        As a pipeline would measure it: `mag` with noise.
    kind : (N,) str
        BGS, LRG, ELG or QSO.
    morphtype : (N,) bytes
        PSF, REX, EXP, DEV or SER, as a pipeline would classify.
    ebv : (N,) float64
        Galactic E(B-V).
    ra, dec : (N,) float64
        deg.
    object_id : (N,) int64
    offset : (N, 2) float64
        Where the target is: x, y in pixels from the centre of the stamp.
    legacy_flux : (N, 3) float32
        r, W1, W2 in nanomaggies.
    """

    images: NDArray[np.float32]
    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]
    wave: NDArray[np.float64]
    redshift: NDArray[np.float64]
    mag: NDArray[np.float64]
    cmodel_mag: NDArray[np.float64]
    kind: NDArray[np.str_]
    morphtype: NDArray[np.bytes_]
    ebv: NDArray[np.float64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    object_id: NDArray[np.int64]
    offset: NDArray[np.float64]
    legacy_flux: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.redshift)


def simulate_chunk(survey: Survey, n: int, seed: int, chunk: int) -> MockChunk:
    """Generate `n` objects (at most `CHUNK`) of the mock survey `seed`.

    The result depends on the arguments alone. Object ids are those of rows `chunk * CHUNK` on.

    Raises
    ------
    UsageError
        The extra `simulation` is not installed.
    """
    rng = np.random.default_rng([seed, chunk])
    model = get_model(survey, _FINE_STEP)
    targets = population.draw_targets(rng, n)
    ebv = np.minimum(rng.lognormal(np.log(_MEDIAN_EBV), _EBV_SCATTER, n), 0.4)
    reddening = 10 ** (-0.4 * ebv[:, None] * np.array(survey.extinction))  # (N, B)
    parts, spectrum, legacy = _light_of_targets(model, survey, targets, ebv)
    parts = [flux * reddening for flux in parts]
    total = np.sum(parts, axis=0)  # (N, B)
    mag = ZERO_POINT - 2.5 * np.log10(total)
    # Cut to the nearest pixel; short of one half, so that rounding never moves a stamp by one.
    offset = rng.uniform(-0.48, 0.48, (n, 2))
    sources = place(rng, survey, targets.galaxies, parts, offset, reddening)
    images = _expose(rng, survey, sources, n)
    flux, ivar = _fibre_noise(rng, spectrum, targets.kind)
    cmodel = total * (1.0 + rng.normal(0.0, 0.02, total.shape))
    cmodel += rng.normal(0.0, 1.0, total.shape) * 10.0 * np.array(survey.negative_std) / 0.603
    ra, dec = _positions(rng, n)
    return MockChunk(
        images=images,
        flux=flux,
        ivar=ivar,
        wave=WAVE,
        redshift=targets.galaxies.z,
        mag=mag,
        cmodel_mag=ZERO_POINT - 2.5 * np.log10(np.maximum(cmodel, 1e-3)),
        kind=np.array(CLASSES)[targets.kind],
        morphtype=_morphtypes(targets),
        ebv=ebv,
        ra=ra,
        dec=dec,
        object_id=object_ids(seed, chunk * CHUNK, n),
        offset=offset,
        legacy_flux=legacy,
    )


def object_ids(seed: int, first: int, n: int) -> NDArray[np.int64]:
    """Ids (n,) of rows `first` on: 17 digits, the seed's last six and the row's ten among them."""
    return 40_000_000_000_000_000 + seed % 1_000_000 * 10_000_000_000 + np.arange(first, first + n)


def _light_of_targets(
    model: SedModel, survey: Survey, targets: Targets, ebv: NDArray[np.float64]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float32], NDArray[np.float32]]:
    """Band fluxes (N, B) of bulge, disk and point, fibre spectrum (N, 259), r, W1, W2 (N, 3)."""
    galaxies = targets.galaxies
    z, n = galaxies.z, len(targets)
    quasar = np.flatnonzero(targets.kind == QSO)
    spectra = [
        model.observe(model.galaxies(galaxies.bulge), z),
        model.observe(model.galaxies(galaxies.disk), z),
        model.observe(model.quasars(targets.quasars), z[quasar]),
    ]
    fluxes = [model.band_fluxes(spectrum) for spectrum in spectra]
    point = np.zeros_like(fluxes[0])
    point[quasar] = fluxes[2]
    weights = np.stack(
        [
            targets.host_share * galaxies.bulge_share,
            targets.host_share * (1.0 - galaxies.bulge_share),
            1.0 - targets.host_share,
        ]
    )  # (3, N)
    parts = np.stack([fluxes[0], fluxes[1], point]) * weights[:, :, None]  # (3, N, B)
    rows = np.arange(n)
    norm = 10 ** (-0.4 * (galaxies.mag - ZERO_POINT)) / parts.sum(axis=0)[rows, galaxies.band]
    parts *= norm[:, None]
    radii = np.stack([galaxies.bulge_radius, galaxies.disk_radius, np.zeros(n)])
    caught = _FIBRE_RADIUS**2 / (_FIBRE_RADIUS**2 + _FIBRE_SEEING**2 + radii**2)
    scale = (weights * norm * caught).astype(np.float32)[:, :, None]  # (3, N, 1)
    fibre = model.pixels(spectra[0]) * scale[0] + model.pixels(spectra[1]) * scale[1]
    fibre[quasar] += model.pixels(spectra[2]) * scale[2, quasar]
    curve = np.interp(WAVE, [c[0][c[1].argmax()] for c in load_curves(survey)], survey.extinction)
    fibre *= 10 ** (-0.4 * ebv[:, None] * curve).astype(np.float32)
    legacy = np.empty((n, 3), dtype=np.float32)
    legacy[:, 0] = parts.sum(axis=0)[:, survey.bands.index("r")] * 10 ** (-0.4 * 4.5)
    for column, wave in ((1, 3.368e4), (2, 4.618e4)):
        light = weights[0] * model.infrared(galaxies.bulge, z, wave)
        light += weights[1] * model.infrared(galaxies.disk, z, wave)
        # Hot dust: the near-infrared f_lambda of quasars falls as 1 / wave only.
        light[quasar] += weights[2, quasar] * 0.4 * (wave / (1 + z[quasar]) / 1e4) ** -1.0
        # 1e-17 erg/s/cm2/A to nanomaggies.
        legacy[:, column] = light * norm * wave**2 / 2.998e18 * 1e-17 / 3.631e-29
    return list(parts), fibre, legacy


def _expose(
    rng: np.random.Generator, survey: Survey, sources: Sources, n: int
) -> NDArray[np.float32]:
    """Images (n, B, 64, 64) through seeing, zero points, sky and photon noise."""
    psfs = _psf_pool(survey)
    large = np.zeros(n, dtype=bool)
    large[sources.stamp[sources.radius > LARGE_RADIUS]] = True
    images = render(sources, n, psfs, rng.integers(0, _PSF_POOL, n), large)
    n_bands = len(survey.bands)
    images *= 10 ** (-0.4 * rng.normal(0, _ZERO_POINT_JITTER, (n, n_bands, 1, 1))).astype("f4")
    depth = np.exp(rng.normal(0.0, _DEPTH_SCATTER, (n, 1, 1, 1)))
    sky = _SKY_OVER_NEGATIVE * np.array(survey.negative_std)[:, None, None] * depth
    photons = 1.0 / np.array(electrons_per_flux(survey))[:, None, None]
    variance = np.maximum(images, 0.0) * photons.astype("f4") + (sky**2).astype("f4")
    images += np.sqrt(variance) * _correlated_noise(rng, (n, n_bands))
    return images


def _correlated_noise(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draw unit Gaussian noise (*shape, 64, 64), correlated as warping makes a coadd's."""
    side = np.float32(0.16)
    white = rng.standard_normal((*shape, STAMP + 2, STAMP + 2), dtype=np.float32)
    rows = white[..., 1:-1, :] + side * (white[..., :-2, :] + white[..., 2:, :])
    noise: NDArray[np.float32] = rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
    noise /= np.float32(1.0) + 2 * side**2
    return noise


@lru_cache(maxsize=4)
def electrons_per_flux(survey: Survey) -> tuple[float, ...]:
    """Electrons per unit of flux at zero point 27, per band, in the survey's exposure time."""
    photons = 3631e-23 / 6.62607e-27 * 10 ** (-0.4 * ZERO_POINT) * _AREA  # per s and d ln(wave)
    return tuple(
        float(photons * np.trapezoid(response / wave, wave) * _EXPOSURE[band])
        for band, (wave, response) in zip(survey.bands, load_curves(survey), strict=True)
    )


@lru_cache(maxsize=4)
def _psf_pool(survey: Survey) -> Psfs:
    rng = np.random.default_rng(1805)
    shape = (_PSF_POOL, len(survey.bands))
    common = rng.normal(0.0, 0.06, (_PSF_POOL, 1))
    fwhm = np.array(survey.seeing) * np.exp(common + rng.normal(0.0, 0.08, shape))
    return Psfs(
        fwhm=fwhm / survey.pixel_scale,
        ratio=1.0 - np.abs(rng.normal(0.0, 0.04, shape)),
        angle=rng.uniform(0.0, np.pi, shape),
    )


def _fibre_noise(
    rng: np.random.Generator, spectrum: NDArray[np.float32], kind: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add sky noise to spectra (N, 259); returns them and their inverse variance."""
    level = np.array([_FIBRE_NOISE[k] for k in (BGS, LRG, ELG, QSO)])[kind]
    level = level * np.exp(rng.normal(0.0, 0.15, len(kind)))
    sigma = (level[:, None] * _sky_shape()).astype(np.float32)
    noise = rng.standard_normal(spectrum.shape, dtype=np.float32)
    return spectrum + sigma * noise, sigma**-2


@lru_cache(maxsize=1)
def _sky_shape() -> NDArray[np.float64]:
    """Noise (259,) relative to 7000 A: falling throughput in the blue, OH bands in the red."""
    shape: NDArray[np.float64] = (
        1.0 + 2.5 * np.exp(-(WAVE - 3600.0) / 300.0) + 0.25 * (WAVE < 5800.0)
    )
    for line in (5577.0, 5893.0, 6300.0):
        shape += 1.2 * np.exp(-0.5 * ((WAVE - line) / 12.0) ** 2)
    bands = ((6860, 80, 0.5), (7280, 130, 0.7), (7750, 150, 0.9), (8380, 170, 1.3),
             (8870, 180, 1.5), (9380, 200, 1.6))  # fmt: skip
    ripple = 0.55 + 0.45 * np.sin(WAVE / 9.0) * np.sin(WAVE / 23.0)
    for centre, width, height in bands:
        shape += height * ripple * np.exp(-0.5 * ((WAVE - centre) / width) ** 2)
    return shape


def _morphtypes(targets: Targets) -> NDArray[np.bytes_]:
    """Types as a profile-fitting pipeline would give them."""
    galaxies = targets.galaxies
    kind = np.full(len(targets), b"SER")
    small = np.maximum(galaxies.bulge_radius, galaxies.disk_radius) < 0.25
    kind[galaxies.bulge_share > 0.75] = b"DEV"
    kind[galaxies.bulge_share < 0.15] = b"EXP"
    kind[small | ((galaxies.mag > 21.5) & (galaxies.bulge_share < 0.3))] = b"REX"
    kind[(targets.kind == QSO) & (targets.host_share < 0.25)] = b"PSF"
    return kind


def _positions(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Even on the sky in the equatorial strip of the HSC wide survey's autumn and spring fields."""
    ra = rng.uniform(130.0, 225.0, n)
    dec = np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(-2.0)), np.sin(np.radians(5.0)), n)))
    return ra, dec
