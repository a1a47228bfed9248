"""The tempo that librosa's beat tracker settles on. Knows nothing about files or the other features.

`librosa.beat.beat_track` estimates the tempo first and places the beats after; only the first half is needed. The mean
over frames of the normalised autocorrelation is taken before the inverse transform, which is linear: one inverse
transform in place of one a frame.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from genre_ray.fourier import HOP_LENGTH, N_FFT
from genre_ray.schema import SAMPLE_RATE

_WINDOW_S = 8.0
_START_BPM = 120.0
_MAX_BPM = 320.0
_BLOCK = 32


def tempo(mel_db: NDArray[np.float32]) -> float:
    """Beats a minute from mel decibels (T, 128), 0 where nothing begins.

    Equal to `librosa.beat.beat_track(onset_envelope=...)[0]` with `onset_strength(..., aggregate=np.median)`.
    """
    onsets = onset_strength(mel_db)
    if not onsets.any():
        return 0.0
    lags = int(_WINDOW_S * SAMPLE_RATE // HOP_LENGTH)
    bpm = np.full(lags, np.inf)
    bpm[1:] = 60.0 * SAMPLE_RATE / (HOP_LENGTH * np.arange(1.0, lags))
    prior = -0.5 * (np.log2(bpm) - np.log2(_START_BPM)) ** 2
    prior[: int(np.argmax(bpm < _MAX_BPM))] = -np.inf
    return float(bpm[np.argmax(np.log1p(1e6 * _mean_autocorrelation(onsets, lags)) + prior)])


def onset_strength(mel_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over mel bins of the rise from frame to frame (T,), shifted by half a window."""
    rises = np.maximum(np.float32(0.0), mel_db[1:] - mel_db[:-1])
    rises.sort(axis=1)  # numpy sorts a row in vector registers: several times as fast as its median
    middle = rises.shape[1] // 2
    shift = 1 + N_FFT // (2 * HOP_LENGTH)
    return np.pad(np.mean(rises[:, middle - 1 : middle + 1], axis=1), (shift, 0))[: len(mel_db)]


def _mean_autocorrelation(onsets: NDArray[np.float32], lags: int) -> NDArray[np.float64]:
    """Mean over all frames of the autocorrelation within a Hann window of `lags` frames, each divided by its power."""
    padded = np.pad(onsets, lags // 2, mode="linear_ramp", end_values=0)
    frames = np.lib.stride_tricks.sliding_window_view(padded, lags)[: len(onsets)]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(lags) / lags)
    size = scipy.fft.next_fast_len(2 * lags - 1, real=True)
    total = np.zeros(size // 2 + 1)
    windowed = np.zeros((_BLOCK, size))
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        np.multiply(block, hann, out=windowed[: len(block), :lags])
        power = np.einsum("tw,tw->t", windowed[: len(block)], windowed[: len(block)])
        power[power < np.finfo(np.float64).tiny] = 1.0
        spectrum = scipy.fft.rfft(windowed[: len(block)], axis=1)
        total += (1.0 / power) @ (spectrum.real**2 + spectrum.imag**2)
    mean: NDArray[np.float64] = scipy.fft.irfft(total, n=size)[:lags] / len(onsets)
    return mean
