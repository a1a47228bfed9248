"""Nine more groups of descriptors, of what stands and moves in one spectrogram. Knows nothing about scaling or labels.

Each takes decibels (N, 128, T) of N clips, their cepstra (N, 128, T), statistics of these, or their bands (N, 16, T),
and gives float32 (N, D), the same to the bit for a clip by itself and among others. One column of a GTZAN figure is
90 ms.
"""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled

Pictures = NDArray[np.float32]
Vectors = NDArray[np.float32]
Array = NDArray[np.float32]

_FLOOR = 1e-3  # dB^2: smallest eigenvalue, far below the quantisation of the levels
_SLOW_FLOOR = 1e-2
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LEVEL_BANDS, _CONTRAST_BANDS, _CONTRAST_ROWS = 32, 8, 16
_BLOCK, _SLOW_CEPSTRA = 16, 16  # columns of a block: 1.4 s
_COURSE_CEPSTRA, _COURSE_STEP = 10, 3
_BEAT_PATCH, _BEAT_HOP = 128, 51
_BEAT_EDGES = (1, 2, 3, 5, 8, 12, 20, 32, 64)  # bins over time, in cycles / 128 columns


class Statistics(NamedTuple):
    """Of each row of signals over time, (N, rows) each; a step is the difference between neighbours in time.

    `skewness` is divided by deviation^3 + 0.001, which keeps silence finite.
    """

    mean: Array
    deviation: Array
    skewness: Array
    step: Array
    step_deviation: Array


def statistics(signals: Pictures) -> Statistics:
    """Mean, deviation, skewness, mean absolute step and deviation of steps of signals (N, rows, T)."""
    found = np.empty((5, *signals.shape[:2]), np.float32)
    _statistics(np.ascontiguousarray(signals), found)
    return Statistics(*found)


@compiled(fastmath=frozenset({"reassoc", "contract"}))
def _statistics(signals: Pictures, found: Array) -> None:
    count = signals.shape[2]
    for clip in range(signals.shape[0]):
        for row in range(signals.shape[1]):
            values = signals[clip, row]
            total = 0.0
            for t in range(count):
                total += values[t]
            mean = total / count
            second = third = 0.0
            for t in range(count):
                centred = values[t] - mean
                second += centred * centred
                third += centred * centred * centred
            deviation = (second / count) ** 0.5
            away = squares = 0.0
            for t in range(count - 1):
                step = values[t + 1] - values[t]
                away += abs(step)
                squares += step * step
            mean_step = (values[count - 1] - values[0]) / (count - 1)
            found[0, clip, row] = mean
            found[1, clip, row] = deviation
            found[2, clip, row] = third / count / (deviation**3 + 1e-3)
            found[3, clip, row] = away / (count - 1)
            found[4, clip, row] = max(squares / (count - 1) - mean_step * mean_step, 0.0) ** 0.5


def log_covariance(signals: Pictures, *, floor: float = _FLOOR) -> Vectors:
    """The upper triangles of the matrix logarithms of the second moments of (N, K, T), off-diagonal times sqrt 2.

    So the Euclidean distance of two vectors is the distance of the two matrices (Arsigny et al. 2006).
    """
    moments = (signals @ signals.swapaxes(-1, -2)).astype(np.float64) / signals.shape[-1]
    values, vectors = np.linalg.eigh(moments)
    logarithms = (vectors * np.log(np.maximum(values, floor))[..., None, :]) @ vectors.swapaxes(-1, -2)
    i, j, weight = _triangle(signals.shape[-2])
    triangles: Vectors = (logarithms[..., i, j] * weight).astype(np.float32)
    return triangles


@cache
def _triangle(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    i, j = np.triu_indices(size)
    return i, j, np.where(i == j, 1.0, np.sqrt(2.0))


@cache
def cosines(rows: int) -> Array:
    """The orthonormal discrete cosine transform (type II) as a matrix (rows, rows)."""
    k, n = np.arange(rows)[:, None], np.arange(rows)[None]
    matrix = np.sqrt(2.0 / rows) * np.cos(np.pi * k * (2 * n + 1) / (2 * rows))
    matrix[0] /= np.sqrt(2.0)
    rounded: Array = matrix.astype(np.float32)
    return rounded


def _centred(cepstra: Pictures, of: Statistics, count: int) -> Pictures:
    centred: Pictures = cepstra[:, :count] - of.mean[:, :count, None]
    return centred


def cepstral_covariance(cepstra: Pictures, of: Statistics) -> Vectors:
    """(N, 210): how the first 20 cepstra vary together; `of` are their statistics."""
    return log_covariance(_centred(cepstra, of, 20))


def cepstral_course(cepstra: Pictures, of: Statistics) -> Vectors:
    """(N, 465): how 10 cepstra vary together with themselves 3 and 6 columns later: which sound follows which."""
    chosen = _centred(cepstra, of, _COURSE_CEPSTRA)
    columns = chosen.shape[-1] - 2 * _COURSE_STEP
    shifted = [chosen[..., i * _COURSE_STEP : i * _COURSE_STEP + columns] for i in range(3)]
    return log_covariance(np.concatenate(shifted, axis=1))


def slow_shape(cepstra: Pictures) -> Vectors:
    """(N, 136): how the means of 16 cepstra over blocks of 1.4 s vary together: what changes from bar to bar."""
    blocks = cepstra.shape[-1] // _BLOCK
    chosen = cepstra[:, :_SLOW_CEPSTRA, : blocks * _BLOCK]
    means = chosen.reshape(len(cepstra), _SLOW_CEPSTRA, blocks, _BLOCK).mean(axis=-1)
    return log_covariance(means - means.mean(axis=-1, keepdims=True), floor=_SLOW_FLOOR)


def cepstral_form(of: Statistics, *, count: int = 30) -> Vectors:
    """(N, 60): skewness of each of the first `count` cepstra, and its mean step over its deviation."""
    steps = of.step[:, :count] / (of.deviation[:, :count] + np.float32(1e-3))
    return np.concatenate([of.skewness[:, :count], steps], axis=1)


def fine_ripples(of: Statistics, *, above: int = 30) -> Vectors:
    """(N, 196): log deviation and log mean step of the cepstra above the 30th: the ripples that harmonics make."""
    return np.log(np.concatenate([of.deviation[:, above:], of.step[:, above:]], axis=1) + np.float32(0.1))


def contrast(decibels: Pictures) -> Vectors:
    """(N, 24): peaks less valleys of 8 bands of 16 bins, mean and deviation, and the peak less the middle.

    Octave-based spectral contrast (Jiang et al. 2002), on the mel axis.
    """
    found = np.empty((len(decibels), 3, _CONTRAST_BANDS), np.float32)
    _contrast(np.ascontiguousarray(decibels), _exchanges(_CONTRAST_ROWS), found)
    return found.reshape(len(decibels), -1)


@compiled(fastmath=frozenset({"reassoc", "contract", "nnan", "nsz"}))
def _contrast(decibels: Pictures, exchanges: NDArray[np.int64], found: Array) -> None:
    count = decibels.shape[2]
    ranked = np.empty((_CONTRAST_ROWS, count), np.float32)
    for clip in range(decibels.shape[0]):
        for band in range(found.shape[2]):
            ranked[:] = decibels[clip, _CONTRAST_ROWS * band : _CONTRAST_ROWS * (band + 1)]
            for step in range(exchanges.shape[0]):
                low, high = ranked[exchanges[step, 0]], ranked[exchanges[step, 1]]
                for t in range(count):
                    a, b = low[t], high[t]
                    low[t] = a if a < b else b
                    high[t] = b if a < b else a
            total = squares = peak = 0.0
            for t in range(count):
                top = ranked[12, t] + ranked[13, t] + ranked[14, t] + ranked[15, t]
                span = 0.25 * (top - (ranked[0, t] + ranked[1, t] + ranked[2, t] + ranked[3, t]))
                total += span
                squares += span * span
                peak += ranked[15, t] - ranked[8, t]
            mean = total / count
            found[clip, 0, band] = mean
            found[clip, 1, band] = max(squares / count - mean * mean, 0.0) ** 0.5
            found[clip, 2, band] = peak / count


@cache
def _exchanges(size: int) -> NDArray[np.int64]:
    """(steps, 2): the rows that Batcher's odd-even merge sort compares, one after the other; `size` is a power of 2."""
    pairs = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                pairs += [(i + j, i + j + k) for i in range(k) if (i + j) // (2 * p) == (i + j + k) // (2 * p)]
            k //= 2
        p *= 2
    return np.array(pairs)


def levels(decibels: Pictures) -> Vectors:
    """(N, 160): five quantiles over time of 32 bands, linear between ranks."""
    clips, _, columns = decibels.shape
    bands = np.sort(decibels.reshape(clips, _LEVEL_BANDS, -1, columns).mean(axis=2), axis=2)
    place = np.array(_SHARES, np.float32) * (columns - 1)
    below = place.astype(np.intp)
    share = place - below
    found = bands[..., below] * (1 - share) + bands[..., np.minimum(below + 1, columns - 1)] * share
    return np.ascontiguousarray(found.swapaxes(1, 2), dtype=np.float32).reshape(clips, -1)


def onset_shape(onsets: Pictures) -> Vectors:
    """(N, 136): which of 16 bands begin together; `onsets` are the rises of the bands (N, 16, T - 1)."""
    return log_covariance(onsets)


def onset_modulation(onsets: Pictures) -> Vectors:
    """(N, 128): log power of the rises of each band over 8 bins of tempo, 5 to 340 beats a minute and above."""
    clips, bands, rises = onsets.shape
    padded = np.zeros((clips, bands, max(rises + 1, _BEAT_PATCH)), np.float32)
    padded[..., :rises] = onsets
    patches = np.lib.stride_tricks.sliding_window_view(padded, _BEAT_PATCH, axis=-1)[..., ::_BEAT_HOP, :]
    spectra = np.fft.rfft((patches - patches.mean(axis=-1, keepdims=True)) * _window())
    power = (spectra.real**2 + spectra.imag**2).sum(axis=2)
    found: Vectors = np.log(power @ _beats() + 1)
    return found.reshape(clips, -1)


@cache
def _beats() -> Array:
    """(65, 8): means over the bins of tempo."""
    means = np.zeros((_BEAT_PATCH // 2 + 1, len(_BEAT_EDGES) - 1), np.float32)
    for column, (a, b) in enumerate(pairwise(_BEAT_EDGES)):
        means[a:b, column] = 1 / (b - a)
    return means


@cache
def _window() -> Array:
    window: Array = np.hanning(_BEAT_PATCH).astype(np.float32)
    return window
