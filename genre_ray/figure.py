"""GTZAN's figure as a picture: reading it, its colours, its frame and margins. Knows nothing about audio or mel bins.

The layout is constant over all 999 figures: 432 x 288 pixels, white margins, and a frame line of 1 px of black at 80 %
opacity, which lies over the picture at the left and top, and over white at the right and bottom.
"""

import io
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genre_ray.compiled import compiled
from genre_ray.errors import FigureError
from genre_ray.magma import magma_colours
from genre_ray.png import plain_rgba
from genre_ray.schema import Source
from genre_ray.source import name_of, read_bytes

WIDTH, HEIGHT = 432, 288


class Axes(NamedTuple):
    """Where the axes lie in the figure, in pixels from the left and the top."""

    left: int
    exact_right: float
    exact_top: float
    bottom: int

    @property
    def top(self) -> int:
        """First row that the picture touches; the frame line lies over it."""
        return int(self.exact_top) + 1


AXES = Axes(left=54, exact_right=388.8, exact_top=34.56, bottom=252)
RIGHT = AXES.exact_right
TOP = 36
"""First row of the plot area inside the frame."""

_MAX_BYTES = 16 * 1024**2
_MAX_PIXELS = 2_000_000
_MAX_COLOUR_DISTANCE = 12.0
_LINE = 51
_CORNER = 19
_LINE_ALPHA, _CORNER_ALPHA = 204, 160
_HASH_FACTOR, _HASH_SHIFT = np.uint32(123261869), np.uint32(20)
"""A multiplicative hash without collisions among magma's colours (found by trying; Knuth, TAOCP 3, 6.4)."""


def read_figure(source: Source, *, track: str | None = None) -> NDArray[np.uint8]:
    """RGBA pixels (288, 432, 4) of a PNG or JPEG; the header is looked at before anything is decoded.

    Raises FigureError: "not_found", "too_large", "undecodable", "wrong_size".
    """
    name = name_of(source, track)
    data = read_bytes(source, limit=_MAX_BYTES, track=track, kind=FigureError)
    plain = plain_rgba(data, width=WIDTH, height=HEIGHT)
    if plain is not None:
        return plain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                _check_size(image.size, name, track)
                return np.asarray(image.convert("RGBA"))
    except (FigureError, MemoryError):
        raise
    except Exception as error:  # Pillow has many more than it says: IndexError, struct.error, zlib.error, ...
        raise FigureError(
            f"{name}: cannot be decoded as a picture",
            kind="undecodable",
            track=track,
            found=f"{str(error)[:200] or type(error).__name__} ({len(data)} bytes, starting {data[:8]!r})",
            expected="a whole PNG or JPEG file",
            remedy="fetch or draw the figure again",
        ) from error


def levels_of(pixels: NDArray[np.uint8], *, track: str | None = None) -> NDArray[np.uint8]:
    """The scalar that magma shows as each pixel: RGB or RGBA (rows, columns, 3 or 4) to (rows, columns).

    Exact for exact colours, the nearest colour otherwise; FigureError "not_a_spectrogram" when the colours lie far from
    magma on average, as those of a photograph or of another colour map do.
    """
    wanted, slots = _colour_slots()
    levels = np.empty(pixels.shape[:2], dtype=np.uint8)
    if not _look_up(pixels, wanted, slots, levels):
        from scipy.spatial import cKDTree  # half a second that the data set's own figures need not wait for

        inexact = (magma_colours()[levels] != pixels[..., :3]).any(axis=-1)
        distance, nearest = cKDTree(magma_colours().astype(np.float64)).query(pixels[inexact, :3].astype(np.float64))
        levels[inexact] = nearest
        _check_colours(float(np.sum(distance)) / levels.size, track)
    return levels


def figure_colours(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The figure as RGBA (288, 432, 4) for the levels of what the picture touches: rows 35..251, columns 54..388."""
    figure = np.full((HEIGHT, WIDTH, 4), 255, dtype=np.uint8)
    rgb = figure[..., :3]
    top, left, bottom, right = AXES.top, AXES.left, AXES.bottom, AXES.left + levels.shape[1]
    rgb[top:bottom, left:right] = magma_colours()[levels]
    corner = _under_line(_under_line(rgb[top, left], _LINE_ALPHA), _CORNER_ALPHA)
    rgb[top, left:right] = _under_line(rgb[top, left:right], _LINE_ALPHA)
    rgb[top + 1 : bottom, left] = _under_line(rgb[top + 1 : bottom, left], _LINE_ALPHA)
    rgb[bottom, left:right] = _LINE
    rgb[top:bottom, right] = _LINE
    rgb[top, left] = corner
    rgb[bottom, left] = rgb[bottom, right] = rgb[top, right] = _CORNER
    return figure


def picture_of(figure: Image.Image, *, size: int) -> NDArray[np.uint8]:
    """A figure resized to (3, size, size) by Pillow's bilinear filter (antialiased), top row first."""
    small = figure.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _under_line(pixels: NDArray[np.uint8], alpha: int) -> NDArray[np.uint8]:
    """Opaque pixels under black of `alpha`/255, in the integer arithmetic of matplotlib's fixed_blender_rgba_plain."""
    below = pixels.astype(np.int64) * 255
    opacity = ((alpha + 255) << 8) - alpha * 255
    return ((below * 256 - below * alpha) // opacity).astype(np.uint8)


@cache
def _colour_slots() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Magma's 256 colours as numbers, and a table that finds each of them in one step: its level at its slot."""
    red, green, blue = (magma_colours()[:, i].astype(np.uint32) for i in range(3))
    wanted: NDArray[np.uint32] = red | green << np.uint32(8) | blue << np.uint32(16)
    slots = np.zeros(1 << 32 - int(_HASH_SHIFT), dtype=np.uint8)
    slots[(wanted * _HASH_FACTOR) >> _HASH_SHIFT] = np.arange(len(wanted))
    return wanted, slots


@compiled()
def _look_up(
    pixels: NDArray[np.uint8], wanted: NDArray[np.uint32], slots: NDArray[np.uint8], levels: NDArray[np.uint8]
) -> bool:
    """Each pixel's level by its colour, whatever its opacity; False when some colours are none of magma's."""
    exact = True
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            red, green, blue = pixels[y, x, 0], pixels[y, x, 1], pixels[y, x, 2]
            code = np.uint32(red) | np.uint32(green) << np.uint32(8) | np.uint32(blue) << np.uint32(16)
            level = slots[np.uint32(np.uint32(code * _HASH_FACTOR) >> _HASH_SHIFT)]
            exact &= wanted[level] == code
            levels[y, x] = level
    return exact


def _check_size(size: tuple[int, int], name: str, track: str | None) -> None:
    if size == (WIDTH, HEIGHT):
        return
    raise FigureError(
        f"{name}: not of the size of a GTZAN figure",
        kind="too_large" if size[0] * size[1] > _MAX_PIXELS else "wrong_size",
        track=track,
        found=f"{size[0]} x {size[1]} pixels",
        expected=f"{WIDTH} x {HEIGHT}",
        remedy="give the figure as in Kaggle's images_original, or the audio instead",
    )


def _check_colours(distance: float, track: str | None) -> None:
    if distance > _MAX_COLOUR_DISTANCE:
        raise FigureError(
            "the picture is no spectrogram in magma",
            kind="not_a_spectrogram",
            track=track,
            found=f"colours {distance:.0f} RGB units from magma on average",
            expected=f"at most {_MAX_COLOUR_DISTANCE:.0f}",
            remedy="give a figure as in Kaggle's images_original, or the audio instead",
        )
