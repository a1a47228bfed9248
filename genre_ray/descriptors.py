"""Summaries of a whole spectrogram for classifiers of vectors: 1811 numbers in twelve groups.

Knows nothing about labels.

Computed from the 8-bit levels of a clip alone, so a figure and the audio behind it give the same. Cepstra are the
discrete cosine transform of a column (the MFCCs of the picture), bands are 16 means of 8 mel bins, a column of a GTZAN
figure is 30 s / 334.

    timbre             90  mean and deviation of 30 cepstra, deviation of their changes
    rhythm_shape      136  logarithm of the covariance matrix of the changes of the bands
    modulation         70  mean log power of the two-dimensional spectrum over ripples in frequency and in time
    and nine of `genre_ray.textures`

Covariance matrices lie on a curved space that their logarithm makes flat (Arsigny et al. 2006, Log-Euclidean metrics).
Modulation spectra of spectrograms as features: Chi, Ru and Shamma 2005; for genre Panagakis, Kotropoulos and Arce 2009.
"""

import hashlib
import threading
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genre_ray import textures

_DECIBELS = 80.0 / 255.0  # one level
_CEPSTRA, _BANDS = 30, 16
_PATCH, _HOP = 48, 24  # columns of the windows whose two-dimensional spectra are averaged
_RIPPLES = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 65)  # edges of the bins over frequency, in cycles / 128 mel bins
_BEATS = (0, 1, 2, 4, 7, 11, 17, 24)  # edges of the bins over time, in cycles / 48 columns

GROUPS: dict[str, int] = {
    "timbre": 3 * _CEPSTRA,
    "rhythm_shape": _BANDS * (_BANDS + 1) // 2,
    "modulation": (len(_RIPPLES) - 1) * (len(_BEATS) - 1),
    "cepstral_covariance": 210,
    "contrast": 24,
    "slow_shape": 136,
    "fine_ripples": 196,
    "onset_modulation": 128,
    "onset_shape": 136,
    "cepstral_form": 60,
    "cepstral_course": 465,
    "levels": 160,
}
"""Name and width of each group, in the order of the columns."""

N_DESCRIPTORS = sum(GROUPS.values())

_REMEMBER, _REMEMBER_FROM = 20_000, 100  # clips (0.15 GB), and the smallest corpus worth it
_remembered: dict[bytes, NDArray[np.float32]] = {}
_lock = threading.Lock()


def describe_pictures(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors (N, 1811) of canonical spectrograms (N, 1, 128, columns) with at least 48 columns.

    About 3 ms each. Those of corpora are remembered, since every trial and fold of a search asks for the same ones.
    """
    if len(pictures) < _REMEMBER_FROM:
        return _describe_all(pictures)
    found = np.empty((len(pictures), N_DESCRIPTORS), np.float32)
    for row, picture in zip(found, pictures, strict=True):
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        known = _remembered.get(key)
        if known is None:
            known = _describe(picture[0])
            with _lock:
                _remembered[key] = known
                while len(_remembered) > _REMEMBER:
                    del _remembered[next(iter(_remembered))]
        row[:] = known
    return found


def _describe_all(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One after the other: so a clip gives the same, to the bit, by itself and among others."""
    found = np.empty((len(pictures), N_DESCRIPTORS), np.float32)
    for row, picture in zip(found, pictures, strict=True):
        row[:] = _describe(picture[0])
    return found


@cache
def group_widths() -> NDArray[np.float64]:
    """For each column the number of columns of its group."""
    widths = np.repeat(np.array(list(GROUPS.values()), np.float64), list(GROUPS.values()))
    widths.flags.writeable = False
    return widths


def _describe(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(1811,) from (rows, columns)."""
    decibels = levels.astype(np.float32)
    decibels *= np.float32(_DECIBELS)
    cepstra = textures.cosines(len(decibels))[:_CEPSTRA] @ decibels
    bands = decibels.reshape(_BANDS, -1, decibels.shape[1]).mean(axis=1)
    onsets = np.maximum(np.diff(bands), 0)
    groups = (
        _timbre(cepstra),
        _rhythm_shape(bands),
        _modulation(decibels),
        textures.cepstral_covariance(cepstra),
        textures.contrast(decibels),
        textures.slow_shape(cepstra),
        textures.fine_ripples(decibels, above=_CEPSTRA),
        textures.onset_modulation(onsets),
        textures.onset_shape(onsets),
        textures.cepstral_form(cepstra),
        textures.cepstral_course(cepstra),
        textures.levels(decibels),
    )
    return np.concatenate(groups, dtype=np.float32)


def _timbre(cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
    parts = [cepstra.mean(axis=1), cepstra.std(axis=1), np.diff(cepstra).std(axis=1)]
    return np.concatenate(parts, dtype=np.float32)


def _rhythm_shape(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    return textures.log_covariance(np.diff(bands))


def _modulation(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the patches of the log power of each one less its mean, under a window.

    The transform over frequency is made once for all columns, though patches overlap, and the patches' means are taken
    away afterwards: both transforms are matrices (the patches are small) and linear.
    """
    waves = _waves(len(decibels))
    mean = decibels.mean(dtype=np.float32)
    by_column = (decibels - mean).T @ waves.over_frequency  # (columns, 2 * 65), real parts then imaginary parts
    columns = _patches(decibels.shape[1])
    levels = (decibels.mean(axis=0) - mean)[columns].mean(axis=1)
    spectra = waves.over_time @ by_column[columns]  # (patches, cosines and sines, 2 * 65)
    spectra -= levels[:, None, None] * waves.of_one
    half = spectra.shape[2] // 2
    even, odd = spectra[:, : _PATCH // 2], spectra[:, _PATCH // 2 :]
    # Upward and downward ripples count alike: 1 + the power of each, and one logarithm of both.
    up = 1 + (even[..., :half] + odd[..., half:]) ** 2 + (even[..., half:] - odd[..., :half]) ** 2
    down = 1 + (even[..., :half] - odd[..., half:]) ** 2 + (even[..., half:] + odd[..., :half]) ** 2
    total = np.log(up * down).sum(axis=0) / np.float32(2 * len(columns))
    found: NDArray[np.float32] = waves.ripples @ (waves.beats @ total).T
    return found.ravel()


@cache
def _patches(columns: int) -> NDArray[np.intp]:
    """(patches, 48): which columns each patch has."""
    return np.arange(0, columns - _PATCH + 1, _HOP)[:, None] + np.arange(_PATCH)


class _Waves(NamedTuple):
    """Windowed transforms as matrices, and means over bins of their frequencies."""

    over_frequency: NDArray[np.float32]
    over_time: NDArray[np.float32]
    of_one: NDArray[np.float32]
    ripples: NDArray[np.float32]
    beats: NDArray[np.float32]


@cache
def _waves(rows: int) -> _Waves:
    turns = 2 * np.pi * np.outer(np.arange(rows), np.arange(rows // 2 + 1)) / rows
    over_frequency = np.hanning(rows)[:, None] * np.concatenate([np.cos(turns), -np.sin(turns)], axis=1)
    turns = 2 * np.pi * np.outer(np.arange(_PATCH // 2), np.arange(_PATCH)) / _PATCH
    over_time = np.concatenate([np.cos(turns), np.sin(turns)]) * np.hanning(_PATCH)
    of_one = over_time.sum(axis=1)[:, None] * over_frequency.sum(axis=0)[None]
    parts = over_frequency, over_time, of_one, _means(_RIPPLES), _means(_BEATS)
    return _Waves(*(np.ascontiguousarray(part, dtype=np.float32) for part in parts))


def _means(edges: tuple[int, ...]) -> NDArray[np.float64]:
    """(bins, frequencies): each row takes the mean over one bin."""
    rows = np.zeros((len(edges) - 1, edges[-1]))
    for row, (a, b) in zip(rows, pairwise(edges), strict=True):
        row[a:b] = 1 / (b - a)
    return rows
