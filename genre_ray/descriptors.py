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
from genre_ray.compiled import compiled

_DECIBELS = 80.0 / 255.0  # one level
_CEPSTRA, _BANDS = 30, 16
_PATCH, _HOP = 48, 24  # columns of the windows whose two-dimensional spectra are averaged
_RIPPLES = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 65)  # edges of the bins over frequency, in cycles / 128 mel bins
_BEATS = (0, 1, 2, 4, 7, 11, 17, 24)  # edges of the bins over time, in cycles / 48 columns
_FACTORS = 8  # patches whose powers are multiplied before their logarithm is taken
_TOGETHER = 8  # clips described at once

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

    About 1.5 ms each. Those of corpora are remembered, since every trial and fold of a search asks for the same ones.
    """
    if len(pictures) < _REMEMBER_FROM:
        return _describe_all(pictures)
    keys = [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures]
    found = {key: row for key in keys if (row := _remembered.get(key)) is not None}
    new = {key: place for place, key in enumerate(keys) if key not in found}
    described = _describe_all(pictures[list(new.values())])
    with _lock:
        for key, row in zip(new, described, strict=True):
            found[key] = _remembered[key] = row.copy()
        while len(_remembered) > _REMEMBER:
            del _remembered[next(iter(_remembered))]
    return np.stack([found[key] for key in keys])


def _describe_all(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A few at a time, which stay in the processor's cache. A clip gives the same, to the bit, in any company."""
    found = np.empty((len(pictures), N_DESCRIPTORS), np.float32)
    for start in range(0, len(pictures), _TOGETHER):
        found[start : start + _TOGETHER] = _describe(pictures[start : start + _TOGETHER, 0])
    return found


@cache
def group_widths() -> NDArray[np.float64]:
    """For each column the number of columns of its group."""
    widths = np.repeat(np.array(list(GROUPS.values()), np.float64), list(GROUPS.values()))
    widths.flags.writeable = False
    return widths


def _describe(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 1811) from (N, rows, columns)."""
    decibels = levels.astype(np.float32)
    decibels *= np.float32(_DECIBELS)
    clips, rows, columns = decibels.shape
    cepstra = textures.cosines(rows) @ decibels
    of_cepstra = textures.statistics(cepstra)
    bands = decibels.reshape(clips, _BANDS, -1, columns).mean(axis=2)
    steps = np.diff(bands)
    onsets = np.maximum(steps, 0)
    groups = (
        of_cepstra.mean[:, :_CEPSTRA],
        of_cepstra.deviation[:, :_CEPSTRA],
        of_cepstra.step_deviation[:, :_CEPSTRA],
        textures.log_covariance(steps),
        _modulation(decibels),
        textures.cepstral_covariance(cepstra, of_cepstra),
        textures.contrast(decibels),
        textures.slow_shape(cepstra),
        textures.fine_ripples(of_cepstra, above=_CEPSTRA),
        textures.onset_modulation(onsets),
        textures.onset_shape(onsets),
        textures.cepstral_form(of_cepstra, count=_CEPSTRA),
        textures.cepstral_course(cepstra, of_cepstra),
        textures.levels(decibels),
    )
    return np.concatenate(groups, axis=1, dtype=np.float32)


def _modulation(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 70): mean over the patches of the log power of each one less its mean, under a window.

    The transform over frequency is made once for all columns, though patches overlap, and the patches' means are taken
    away afterwards: both transforms are matrices (the patches are small) and linear.
    """
    clips, rows, _ = decibels.shape
    waves = _waves(rows)
    mean = decibels.reshape(clips, -1).mean(axis=1)
    by_column = (decibels - mean[:, None, None]).swapaxes(1, 2) @ waves.over_frequency  # real parts, then imaginary
    by_patch = _patches(by_column, axis=1).swapaxes(2, 3)  # (clips, patches, 48, 2 * 65), without a copy
    spectra = waves.over_time @ by_patch  # (clips, patches, cosines and sines, 2 * 65)
    levels = _patches(decibels.mean(axis=1) - mean[:, None], axis=1).mean(axis=2)
    products = np.empty((clips, -(-levels.shape[1] // _FACTORS), _PATCH // 2, rows // 2 + 1))
    _multiply_powers(spectra, levels, waves.of_one, products)
    total = np.log(products).sum(axis=1).astype(np.float32) / np.float32(2 * levels.shape[1])
    found: NDArray[np.float32] = waves.ripples @ (waves.beats @ total).swapaxes(1, 2)
    return found.reshape(clips, -1)


def _patches(signals: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Views (..., patches, ..., 48) of signals (..., T, ...) along `axis`: 48 columns every 24, in a new last axis."""
    views = np.lib.stride_tricks.sliding_window_view(signals, _PATCH, axis=axis)
    return views[(slice(None),) * axis + (slice(None, None, _HOP),)]


@compiled(fastmath=frozenset({"contract"}))
def _multiply_powers(
    spectra: NDArray[np.float32],
    levels: NDArray[np.float32],
    of_one: NDArray[np.float32],
    products: NDArray[np.float64],
) -> None:
    """Products of 1 + power over eight patches at a time, of upward and downward ripples: then one logarithm of all.

    `spectra` (N, patches, 48, 130) as `_modulation` has them, `levels` (N, patches) their means, to be taken away;
    `products` (N, patches / 8, 24, 65) is filled. A power is at most some 1e11, so eight times two of them stay within
    double precision.
    """
    times, frequencies = products.shape[2:]
    products[:] = 1.0
    for clip in range(spectra.shape[0]):
        for patch in range(spectra.shape[1]):
            level, product = levels[clip, patch], products[clip, patch // _FACTORS]
            for t in range(times):
                even, odd = spectra[clip, patch, t], spectra[clip, patch, times + t]
                even_one, odd_one = of_one[t], of_one[times + t]
                for f in range(frequencies):
                    g = frequencies + f
                    even_real, even_imaginary = even[f] - level * even_one[f], even[g] - level * even_one[g]
                    odd_real, odd_imaginary = odd[f] - level * odd_one[f], odd[g] - level * odd_one[g]
                    a, b = even_real + odd_imaginary, even_imaginary - odd_real
                    c, d = even_real - odd_imaginary, even_imaginary + odd_real
                    product[t, f] *= (1.0 + a * a + b * b) * (1.0 + c * c + d * d)


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
