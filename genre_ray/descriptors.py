"""Summaries of a whole spectrogram for classifiers of vectors: 839 numbers in five groups. Knows nothing about labels.

Computed from the 8-bit levels of a clip alone, so a figure and the audio behind it give the same. Cepstra are the
discrete cosine transform of a column (the MFCCs of the picture), bands are 16 means of 8 mel bins, a column of a GTZAN
figure is 30 s / 334.

    timbre             90  mean and deviation of 30 cepstra, deviation of their changes
    cepstral_shape    351  logarithm of the covariance matrix of 13 cepstra and their changes
    rhythm_shape      136  logarithm of the covariance matrix of the changes of the bands
    echoes            192  correlation of the bands with each other 1, 3 and 6 columns later
    modulation         70  mean log power of the two-dimensional spectrum over ripples in frequency and in time

Covariance matrices lie on a curved space that their logarithm makes flat (Arsigny et al. 2006, Log-Euclidean metrics).
Modulation spectra of spectrograms as features: Chi, Ru and Shamma 2005; for genre Panagakis, Kotropoulos and Arce 2009.
"""

import hashlib
import threading
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_DECIBELS = 80.0 / 255.0  # one level
_CHUNK = 32
_CEPSTRA, _SHAPE_CEPSTRA, _BANDS = 30, 13, 16
_LAGS = (1, 3, 6)
_PATCH, _HOP = 48, 24  # columns of the windows whose two-dimensional spectra are averaged
_RIPPLES = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 65)  # edges of the bins over frequency, in cycles / 128 mel bins
_BEATS = (0, 1, 2, 4, 7, 11, 17, 24)  # edges of the bins over time, in cycles / 48 columns
_FLOOR = 1e-3  # dB^2: smallest eigenvalue, far below the quantisation of the levels

GROUPS: dict[str, int] = {
    "timbre": 3 * _CEPSTRA,
    "cepstral_shape": (2 * _SHAPE_CEPSTRA) * (2 * _SHAPE_CEPSTRA + 1) // 2,
    "rhythm_shape": _BANDS * (_BANDS + 1) // 2,
    "echoes": len(_LAGS) * (_BANDS // 2) ** 2,
    "modulation": (len(_RIPPLES) - 1) * (len(_BEATS) - 1),
}
"""Name and width of each group, in the order of the columns."""

N_DESCRIPTORS = sum(GROUPS.values())

_REMEMBER, _REMEMBER_FROM = 16, 100  # corpora, and clips of the smallest one worth it
_remembered: dict[bytes, NDArray[np.float32]] = {}
_lock = threading.Lock()


def describe_pictures(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors (N, 839) of canonical spectrograms (N, 1, 128, columns) with at least 48 columns.

    About 2 ms each. Those of the last few corpora are remembered, since every trial of a search asks for the same ones.
    """
    if len(pictures) < _REMEMBER_FROM:
        return _describe_all(pictures)
    key = hashlib.blake2b(np.ascontiguousarray(pictures).data, digest_size=16).digest()
    with _lock:
        found = _remembered.pop(key, None)
    if found is None:
        found = _describe_all(pictures)
        found.flags.writeable = False
    with _lock:
        _remembered[key] = found
        while len(_remembered) > _REMEMBER:
            del _remembered[next(iter(_remembered))]
    return found


def _describe_all(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [_describe(pictures[i : i + _CHUNK, 0]) for i in range(0, len(pictures), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, N_DESCRIPTORS), np.float32)


def group_widths() -> NDArray[np.float64]:
    """For each column the number of columns of its group."""
    return np.repeat(np.array(list(GROUPS.values()), np.float64), list(GROUPS.values()))


def _describe(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    decibels = levels.astype(np.float32) * np.float32(_DECIBELS)
    cepstra = np.matmul(_cosines(decibels.shape[1]), decibels)
    bands = decibels.reshape(len(decibels), _BANDS, -1, decibels.shape[2]).mean(axis=2)
    groups = (_timbre(cepstra), _cepstral_shape(cepstra), _rhythm_shape(bands), _echoes(bands), _modulation(decibels))
    return np.concatenate(groups, axis=1, dtype=np.float32)


def _cosines(rows: int) -> NDArray[np.float32]:
    """The first rows of the orthonormal discrete cosine transform (type II)."""
    k, n = np.arange(_CEPSTRA)[:, None], np.arange(rows)[None]
    matrix = np.sqrt(2.0 / rows) * np.cos(np.pi * k * (2 * n + 1) / (2 * rows))
    matrix[0] /= np.sqrt(2.0)
    rounded: NDArray[np.float32] = matrix.astype(np.float32)
    return rounded


def _timbre(cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
    changes = np.diff(cepstra, axis=2)
    parts = [cepstra.mean(axis=2), cepstra.std(axis=2), changes.std(axis=2)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _cepstral_shape(cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
    chosen = cepstra[:, :_SHAPE_CEPSTRA]
    centred = chosen - chosen.mean(axis=2, keepdims=True)
    return _log_covariance(np.concatenate([centred[:, :, 1:], np.diff(chosen, axis=2)], axis=1))


def _rhythm_shape(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    return _log_covariance(np.diff(bands, axis=2))


def _log_covariance(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper triangle of the matrix logarithm of the second moments of (N, K, T), off-diagonal times sqrt 2.

    So the Euclidean distance of two vectors is the distance of the two matrices.
    """
    moments = np.matmul(signals, signals.transpose(0, 2, 1), dtype=np.float32).astype(np.float64) / signals.shape[2]
    values, vectors = np.linalg.eigh(moments)
    logarithm = (vectors * np.log(np.maximum(values, _FLOOR))[:, None, :]) @ vectors.transpose(0, 2, 1)
    i, j = np.triu_indices(signals.shape[1])
    triangle: NDArray[np.float32] = (logarithm[:, i, j] * np.where(i == j, 1.0, np.sqrt(2.0))).astype(np.float32)
    return triangle


def _echoes(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    every_other = bands[:, ::2] - bands[:, ::2].mean(axis=2, keepdims=True)
    deviation = every_other.std(axis=2) + np.float32(1e-3)
    scaled = every_other / deviation[:, :, None]
    columns = scaled.shape[2]
    found = [np.matmul(scaled[:, :, lag:], scaled[:, :, :-lag].transpose(0, 2, 1)) / columns for lag in _LAGS]
    return np.concatenate([part.reshape(len(bands), -1) for part in found], axis=1)


def _modulation(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = decibels.shape[1:]
    window = (np.hanning(rows)[:, None] * np.hanning(_PATCH)[None]).astype(np.float32)
    total = np.zeros((len(decibels), rows // 2 + 1, _PATCH), np.float32)
    starts = range(0, columns - _PATCH + 1, _HOP)
    for start in starts:
        patch = decibels[:, :, start : start + _PATCH]
        spectrum = np.fft.rfft2((patch - patch.mean(axis=(1, 2), keepdims=True)) * window, axes=(2, 1))
        total += np.log1p(spectrum.real**2 + spectrum.imag**2)
    # Upward and downward ripples count alike; of the frequencies over time only the magnitude is kept.
    folded = total[:, :, : _PATCH // 2]
    folded = (folded + total[:, :, -np.arange(_PATCH // 2) % _PATCH]) / (2 * len(starts))
    by_ripple = np.stack([folded[:, a:b].mean(axis=1) for a, b in pairwise(_RIPPLES)], axis=1)
    by_beat = [by_ripple[:, :, a:b].mean(axis=2) for a, b in pairwise(_BEATS)]
    return np.stack(by_beat, axis=2).reshape(len(decibels), -1)
