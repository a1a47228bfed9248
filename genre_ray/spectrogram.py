"""The canonical spectrogram: 8-bit levels over mel bins and columns, from a GTZAN figure or from audio.

Knows nothing about files of audio, labels or models.

GTZAN's figures (Kaggle layout) are 432 x 288 pictures of `amplitude_to_db(melspectrogram(y), ref=max)` in matplotlib's
magma. The axes span 54..388.8 from the left and 34.56..252 from the top (matplotlib's subplot parameters left 0.125,
right 0.9, bottom 0.125, top 0.88). Agg painted one quadrilateral a cell without antialiasing, each over every pixel it
touches, in order, with corners rounded to 1/256 pixel: so a pixel shows the last frame and the highest mel bin that
begin before its far edge less half of 1/256 pixel.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genre_ray.errors import AudioError
from genre_ray.figure import AXES, RIGHT, TOP, figure_colours, levels_of, picture_of, read_figure
from genre_ray.schema import FIGURE_COLUMNS, N_MELS, Source
from genre_ray.spectrum import mel_power

_HALF_SUBPIXEL = 1 / 512
_AMIN = 1e-10
_TOP_DB = 80.0
_LEVELS = 256

Form = Literal["plot", "frames"]


def from_figure(source: Source, *, track: str | None = None) -> NDArray[np.uint8]:
    """Levels of a GTZAN figure's plot area, (1, 128, 334), row 0 the lowest mel bin.

    The inverse of the colour map is exact for the data set's own PNG files, and to the nearest colour elsewhere.
    Raises FigureError: "not_found", "undecodable", "too_large", "wrong_size", "not_a_spectrogram".
    """
    pixels = read_figure(source, track=track)
    plot = pixels[TOP + _figure_rows(), AXES.left + 1 : AXES.left + 1 + FIGURE_COLUMNS]
    return levels_of(plot, track=track)[np.newaxis]


def picture_from_figure(source: Source, *, size: int, track: str | None = None) -> NDArray[np.uint8]:
    """The whole figure, margins and all, as an RGB picture (3, size, size), top row first: the paper's own input."""
    return picture_of(Image.fromarray(read_figure(source, track=track)), size=size)


def from_audio(samples: NDArray[np.float32], *, form: Form) -> NDArray[np.uint8]:
    """Levels computed from mono samples at 22050 Hz: (1, 128, 334) as in the figure, or all T frames (1, 128, T).

    Raises AudioError "too_short", "not_finite" or "silent".
    """
    return from_mel_power(mel_power(samples), form=form)


def from_mel_power(mel: NDArray[np.float32], *, form: Form) -> NDArray[np.uint8]:
    """Levels of a mel power spectrogram (T, 128); see `from_audio`."""
    shown = mel[_figure_columns(len(mel))[1:]] if form == "plot" else mel
    return _levels(shown, mel)[np.newaxis]


def _levels(shown: NDArray[np.float32], mel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rows of `mel` (T, 128) to columns of levels, 0..255 over the range of all its decibels, as matplotlib's colours.

    The data set's authors took `amplitude_to_db` of a power spectrogram, so 80 dB here are 40 dB of power.
    """
    lowest, highest = mel.min(), mel.max()
    low, high = _decibels(np.array([lowest, highest]), highest)
    low = max(low, high - np.float32(_TOP_DB))
    if not high > low:
        raise AudioError(
            "the spectrum is flat",
            kind="silent",
            found="no difference between any two of its bins",
            expected="sound",
            remedy="leave the track out",
        )
    decibels = np.maximum(_decibels(shown.T, highest), low)
    levels: NDArray[np.uint8] = np.minimum((decibels - low) / (high - low) * _LEVELS, _LEVELS - 1).astype(np.uint8)
    return np.ascontiguousarray(levels)


def _decibels(mel: NDArray[np.float32], peak: np.float32) -> NDArray[np.float32]:
    """`librosa.amplitude_to_db(mel, ref=peak)` without its limit of 80 dB."""
    reference = np.float32(10.0 * np.log10(max(_AMIN, np.square(peak))))
    return np.float32(10.0) * np.log10(np.maximum(np.float32(_AMIN), np.square(mel))) - reference


def picture_from_audio(samples: NDArray[np.float32], *, size: int) -> NDArray[np.uint8]:
    """The whole figure as GTZAN's authors would have drawn it from `samples`, as `picture_from_figure` returns it."""
    mel = mel_power(samples)
    return picture_of(_draw(_levels(mel[_figure_columns(len(mel))], mel)), size=size)


def figure_from_levels(levels: NDArray[np.uint8]) -> Image.Image:
    """A figure of 432 x 288 RGBA pixels in Kaggle's layout from the canonical levels (1, 128, 334).

    The pixels under the left frame line show a frame that the plot area does not: they repeat its first column.
    """
    plot = levels[0]
    return _draw(np.concatenate([plot[:, :1], plot], axis=1))


def figure_from_frames(levels: NDArray[np.uint8]) -> Image.Image:
    """The same figure from the levels of all frames (128, T), equal to the data set's in every pixel."""
    return _draw(levels[:, _figure_columns(levels.shape[1])])


def _draw(columns: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(figure_colours(columns[_mel_bins(np.arange(AXES.top, AXES.bottom))]))


def _figure_columns(frames: int) -> NDArray[np.int64]:
    """The frame that each of the figure's columns 54..388 shows."""
    x = np.arange(AXES.left, AXES.left + FIGURE_COLUMNS + 1)
    shown: NDArray[np.int64] = np.floor((x + 1 - AXES.left - _HALF_SUBPIXEL) * frames / (RIGHT - AXES.left)).astype(
        np.int64
    )
    return np.minimum(shown, frames - 1)


def _mel_bins(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The mel bin that each of the figure's rows `y` (from the top) shows."""
    bins: NDArray[np.int64] = np.floor(
        (AXES.bottom - y - _HALF_SUBPIXEL) * N_MELS / (AXES.bottom - AXES.exact_top)
    ).astype(np.int64)
    return np.minimum(bins, N_MELS - 1)


def _figure_rows() -> NDArray[np.int64]:
    """For each mel bin one row of the plot area that shows it, counted from the top of the area."""
    y = np.arange(TOP, AXES.bottom)
    rows = np.zeros(N_MELS, dtype=np.int64)
    rows[_mel_bins(y)] = y - TOP
    return rows
