"""What a picture shows by geometry alone, with nothing learnt: a second opinion where the judges could share an error.

Subject and colour come together: pixels near each named colour in CIELAB make a mask, and the named silhouette that
covers a mask best over all poses (intersection over union) names both; below a fit of `FIT` nothing is said. Regular
patterns are seen by their period: how far the spectrum of the picture's border, which is the transform of its
autocorrelation, stands out at the frequencies of their lattice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_loom.studio.pocket.world.palette import COLOURS, INK, WHITE, darker, lighter, mix, rgb
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import FACTORS, HELD, Scene

SIDE = 64  # pixels at which shapes are compared
NEAR = 22.0  # CIELAB distance up to which a pixel can belong to a colour
FIT = 0.6  # least intersection over union that counts as a silhouette
SCALES, TILTS = (0.9, 1.0, 1.1), (-0.1, 0.0, 0.1)


@dataclass(frozen=True)
class Lattice:
    """Frequencies (x, y) in cycles per picture, from the period that is drawn, and the strength that counts as seen."""

    frequencies: tuple[tuple[float, float], ...]
    least: float


# `least` chosen on renders of another seed than those the check is measured on
LATTICES: Mapping[str, Lattice] = {
    "polka": Lattice(((4.762, -2.381), (4.762, 2.381), (0.0, 4.762)), 1.3),
    "halftone": Lattice(((7.443, 7.443), (7.443, -7.443)), 3.5),
    "mosaic": Lattice(((8.0, 0.0), (0.0, 8.0)), 1.85),
    "glitch": Lattice(((0.0, 16.0),), 7.4),
    "hatched": Lattice(((6.428, 6.428),), 2.5),
}


@dataclass(frozen=True)
class Silhouette:
    """The named shape and colour that fit best, and their intersection over union in [0, 1]."""

    subject: str
    colour: str
    fit: float


def lab(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """sRGB in [0, 1] [... 3] -> CIELAB under D65 (CIE 15; IEC 61966-2-1 for the transfer curve)."""
    x = np.asarray(image, np.float64)
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)


@lru_cache(maxsize=1)
def _anchors() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """CIELAB of every tone in which a colour is painted, and the colour's number; ink and white belong to none (-1)."""
    tones, owners = [lab(rgb(INK)), lab(rgb(WHITE))], [-1, -1]
    for number, triple in enumerate(COLOURS.values()):
        colour = rgb(triple)
        for tone in (colour, darker(colour), lighter(colour), mix(colour, rgb(WHITE), 0.62)):
            tones.append(lab(tone))
            owners.append(number)
    return np.array(tones), np.array(owners)


def colour_numbers(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """uint8 [h w 3] -> [h w]: which named colour each pixel is nearest to in CIELAB, or -1 for none within `NEAR`."""
    tones, owners = _anchors()
    distance = np.linalg.norm(lab(picture / 255.0)[..., None, :] - tones, axis=-1)  # [h w tones]
    return np.where(distance.min(-1) <= NEAR, owners[distance.argmin(-1)], -1)


@lru_cache(maxsize=1)
def _templates() -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.complex128]]:
    """Subject, area and spectrum [m f f] of every silhouette over `SCALES` and `TILTS`."""
    names: list[str] = []
    masks, red = [], list(COLOURS).index("red")
    for subject in (*FACTORS["subject"], *HELD["subject"]):
        for scale in SCALES:
            for tilt in TILTS:
                names.append(subject)
                image = render(Scene(subject, "red", scale=scale, tilt=tilt), SIDE).image
                # only what is painted in the colour, as in the masks: no eyes, beaks, horns
                masks.append(colour_numbers(np.round(image * 255).astype(np.uint8)) == red)
    padded = np.array(masks, np.float64)
    return tuple(names), padded.sum((1, 2)), np.fft.rfft2(padded, (2 * SIDE, 2 * SIDE))


def silhouette(picture: NDArray[np.uint8]) -> Silhouette | None:
    """The shape and colour in uint8 [h w 3] whose intersection over union is best over position, size and tilt.

    None when nothing fits at `FIT` or better: another style's tones, a strange shape, or a ground of the same colour.
    """
    small = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX))
    numbers = colour_numbers(small)
    names, areas, spectra = _templates()
    best: Silhouette | None = None
    for number, colour in enumerate(COLOURS):
        mask = (numbers == number).astype(np.float64)
        # a mask that is too small or large for the area of any silhouette cannot reach the fit
        if not FIT * areas.min() <= mask.sum() <= areas.max() / FIT:
            continue
        both = np.fft.irfft2(np.fft.rfft2(mask, (2 * SIDE, 2 * SIDE)) * spectra.conj())  # [m 2s 2s], all shifts
        overlap = both.max((1, 2))
        fits = overlap / (mask.sum() + areas - overlap)
        k = int(fits.argmax())
        if fits[k] >= max(FIT, best.fit if best else 0.0):
            best = Silhouette(names[k], colour, float(fits[k]))
    return best


def _border(h: int, w: int) -> NDArray[np.float64]:
    """Weights [h w] of the ground beside and above the subject, fading to nothing at the picture's edge."""
    v, u = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    outside = np.clip((np.maximum(np.abs(u), -v) - 0.35) / 0.3, 0, 1)
    return outside * np.clip((1 - np.maximum(np.abs(u), np.abs(v))) / 0.15, 0, 1)


def periodicity(picture: NDArray[np.uint8], pattern: str) -> float:
    """How much stronger the border of uint8 [h w 3] varies at the lattice of `pattern` than beside it, as a ratio.

    The weakest of the lattice's frequencies counts, against the median over other directions of its length or over
    other lengths in its direction, whichever is larger.
    """
    values = lab(picture / 255.0)
    # the dots of `polka` differ from their ground in redness too
    x = values[..., 0] - values[..., 1] if pattern == "polka" else values[..., 0]
    weights = _border(*x.shape)
    x = (x - (x * weights).sum() / weights.sum()) * weights
    down, along = ((np.arange(n) + 0.5) / n for n in x.shape)

    def strength(fx: float, fy: float) -> float:
        return float(np.abs(np.exp(-2j * np.pi * fy * down) @ x @ np.exp(-2j * np.pi * fx * along)))

    ratios: list[float] = []
    for fx, fy in LATTICES[pattern].frequencies:
        length, angle = np.hypot(fx, fy), np.arctan2(fy, fx)
        turned = angle + np.linspace(0.35, np.pi - 0.35, 9)
        directions = [strength(length * np.cos(a), length * np.sin(a)) for a in turned]
        lengths = [strength(fx * g, fy * g) for g in (0.7, 0.78, 0.84, 1.16, 1.24, 1.32)]
        ratios.append(strength(fx, fy) / (max(float(np.median(directions)), float(np.median(lengths))) + 1e-9))
    return min(ratios)


def shows_pattern(picture: NDArray[np.uint8], pattern: str) -> bool:
    """Whether the period of `pattern`, one of `LATTICES`, stands out in uint8 [h w 3]."""
    return periodicity(picture, pattern) >= LATTICES[pattern].least
