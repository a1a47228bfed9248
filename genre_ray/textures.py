"""Nine more groups of descriptors, of what stands and moves in one spectrogram. Knows nothing about scaling or labels.

Each takes a clip's decibels (128, T), its cepstra (30, T) or its bands (16, T), and gives a float32 vector; one column
of a GTZAN figure is 90 ms.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Vector = NDArray[np.float32]

_FLOOR = 1e-3  # dB^2: smallest eigenvalue, far below the quantisation of the levels
_SLOW_FLOOR = 1e-2
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LEVEL_BANDS, _CONTRAST_BANDS = 32, 8
_BLOCK, _SLOW_CEPSTRA = 16, 16  # columns of a block: 1.4 s
_COURSE_CEPSTRA, _COURSE_STEP = 10, 3
_BEAT_PATCH, _BEAT_HOP = 128, 51
_BEAT_EDGES = (1, 2, 3, 5, 8, 12, 20, 32, 64)  # bins over time, in cycles / 128 columns


def log_covariance(signals: Picture, *, floor: float = _FLOOR) -> Vector:
    """The upper triangle of the matrix logarithm of the second moments of (K, T), off-diagonal times sqrt 2.

    So the Euclidean distance of two vectors is the distance of the two matrices (Arsigny et al. 2006).
    """
    moments = (signals @ signals.T).astype(np.float64) / signals.shape[1]
    values, vectors = np.linalg.eigh(moments)
    logarithm = (vectors * np.log(np.maximum(values, floor))) @ vectors.T
    i, j, weight = _triangle(len(signals))
    triangle: Vector = (logarithm[i, j] * weight).astype(np.float32)
    return triangle


@cache
def _triangle(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    i, j = np.triu_indices(size)
    return i, j, np.where(i == j, 1.0, np.sqrt(2.0))


@cache
def cosines(rows: int) -> Picture:
    """The orthonormal discrete cosine transform (type II) as a matrix (rows, rows)."""
    k, n = np.arange(rows)[:, None], np.arange(rows)[None]
    matrix = np.sqrt(2.0 / rows) * np.cos(np.pi * k * (2 * n + 1) / (2 * rows))
    matrix[0] /= np.sqrt(2.0)
    rounded: Picture = matrix.astype(np.float32)
    return rounded


def cepstral_covariance(cepstra: Picture) -> Vector:
    """(210,): how the first 20 cepstra vary together."""
    chosen = cepstra[:20]
    return log_covariance(chosen - chosen.mean(axis=1, keepdims=True))


def cepstral_course(cepstra: Picture) -> Vector:
    """(465,): how 10 cepstra vary together with themselves 3 and 6 columns later: which sound follows which."""
    chosen = cepstra[:_COURSE_CEPSTRA] - cepstra[:_COURSE_CEPSTRA].mean(axis=1, keepdims=True)
    columns = chosen.shape[1] - 2 * _COURSE_STEP
    return log_covariance(np.concatenate([chosen[:, i * _COURSE_STEP :][:, :columns] for i in range(3)]))


def slow_shape(cepstra: Picture) -> Vector:
    """(136,): how the means of 16 cepstra over blocks of 1.4 s vary together: what changes from bar to bar."""
    blocks = cepstra.shape[1] // _BLOCK
    means = cepstra[:_SLOW_CEPSTRA, : blocks * _BLOCK].reshape(_SLOW_CEPSTRA, blocks, _BLOCK).mean(axis=2)
    return log_covariance(means - means.mean(axis=1, keepdims=True), floor=_SLOW_FLOOR)


def cepstral_form(cepstra: Picture) -> Vector:
    """(60,): skewness of each cepstrum, and its mean step over its deviation."""
    centred = cepstra - cepstra.mean(axis=1, keepdims=True)
    deviation = cepstra.std(axis=1)
    skewness = (centred * centred * centred).mean(axis=1) / (deviation**3 + np.float32(1e-3))
    steps = np.abs(np.diff(cepstra)).mean(axis=1) / (deviation + np.float32(1e-3))
    return np.concatenate([skewness, steps])


def fine_ripples(decibels: Picture, *, above: int = 30) -> Vector:
    """(196,): log deviation and log mean step of the cepstra above the 30th: the ripples that harmonics make."""
    fine = cosines(len(decibels))[above:] @ decibels
    spread = np.log(fine.std(axis=1) + np.float32(0.1))
    return np.concatenate([spread, np.log(np.abs(np.diff(fine)).mean(axis=1) + np.float32(0.1))])


def contrast(decibels: Picture) -> Vector:
    """(24,): peaks less valleys of 8 bands of 16 bins, mean and deviation, and the peak less the middle.

    Octave-based spectral contrast (Jiang et al. 2002), on the mel axis.
    """
    ranked = np.sort(decibels.reshape(_CONTRAST_BANDS, -1, decibels.shape[1]), axis=1)
    span = ranked[:, -4:].mean(axis=1) - ranked[:, :4].mean(axis=1)
    peak = (ranked[:, -1] - ranked[:, ranked.shape[1] // 2]).mean(axis=1)
    return np.concatenate([span.mean(axis=1), span.std(axis=1), peak])


def levels(decibels: Picture) -> Vector:
    """(160,): five quantiles over time of 32 bands, linear between ranks."""
    bands = np.sort(decibels.reshape(_LEVEL_BANDS, -1, decibels.shape[1]).mean(axis=1), axis=1)
    place = np.array(_SHARES, np.float32) * (bands.shape[1] - 1)
    below = place.astype(np.intp)
    share = place - below
    found = bands[:, below] * (1 - share) + bands[:, np.minimum(below + 1, bands.shape[1] - 1)] * share
    return np.ascontiguousarray(found.T, dtype=np.float32).ravel()


def onset_shape(onsets: Picture) -> Vector:
    """(136,): which of 16 bands begin together; `onsets` are the rises of the bands (16, T - 1)."""
    return log_covariance(onsets)


def onset_modulation(onsets: Picture) -> Vector:
    """(128,): log power of the rises of each band over 8 bins of tempo, 5 to 340 beats a minute and above."""
    columns = onsets.shape[1] + 1
    padded = np.zeros((len(onsets), max(columns, _BEAT_PATCH)), np.float32)
    padded[:, : columns - 1] = onsets
    patches = np.lib.stride_tricks.sliding_window_view(padded, _BEAT_PATCH, axis=1)[:, ::_BEAT_HOP]
    spectra = np.fft.rfft((patches - patches.mean(axis=2, keepdims=True)) * _window(), axis=2)
    power = (spectra.real**2 + spectra.imag**2).sum(axis=1)
    found = [np.log(power[:, a:b].mean(axis=1) + 1) for a, b in pairwise(_BEAT_EDGES)]
    return np.stack(found, axis=1).astype(np.float32).ravel()


@cache
def _window() -> Vector:
    window: Vector = np.hanning(_BEAT_PATCH).astype(np.float32)
    return window
