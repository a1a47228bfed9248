"""Harmonic-percussive separation by median filtering, once, for both parts. Knows nothing about files or features.

Fitzgerald, "Harmonic/percussive separation using median filtering" (2010), as `librosa.effects.harmonic` and
`percussive` do it: medians of 31 along time and along frequency, soft masks of power 2, inverse transform. All is done
in the order and precision of librosa 0.11 and numpy, so that both signals equal librosa's to the bit.
"""

from functools import lru_cache
from typing import Literal

import librosa
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.medians import median_over_rows
from genre_ray.spectrum import HOP_LENGTH, N_FFT, window

Tail = Literal["kept", "dropped"]

_BLOCK = 32


def separate(
    spectrum: NDArray[np.complex64],
    magnitude: NDArray[np.float32],
    across: NDArray[np.float32],
    *,
    length: int,
    tail: Tail = "kept",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The harmonic and the percussive signal, (length,) each, of a spectrum (T, 1025) and its magnitudes.

    `across` holds the magnitudes' medians along frequency, and is overwritten. The signals equal
    `librosa.effects.harmonic(y, pad_mode="reflect")` and `librosa.effects.percussive(y, pad_mode="reflect")`. With the
    `tail` "dropped", what follows the last whole hop is zero, as librosa 0.7 left it.
    """
    along = np.empty_like(magnitude)
    median_over_rows(magnitude, along)
    signals = np.zeros((2, N_FFT + HOP_LENGTH * (len(spectrum) - 1)), dtype=np.float32)
    for start in range(0, len(spectrum), _BLOCK):
        block = slice(start, start + _BLOCK)
        _gains(magnitude[block].ravel(), along[block].ravel(), across[block].ravel())
        phase = spectrum[block].copy()
        _divide(phase.view(np.float32).ravel(), magnitude[block].ravel())
        part = np.empty_like(phase)
        for signal, gain in zip(signals, (along, across), strict=True):
            _multiply(phase.view(np.float32).ravel(), gain[block].ravel(), part.view(np.float32).ravel())
            frames = scipy.fft.irfft(part, n=N_FFT, axis=1)
            _overlap_add(signal, frames, window(), start * HOP_LENGTH, HOP_LENGTH)
    return tuple(_normalised(signal, len(spectrum), length, tail) for signal in signals)  # type: ignore[return-value]


def _normalised(signal: NDArray[np.float32], frames: int, length: int, tail: Tail) -> NDArray[np.float32]:
    """The sum of windowed frames without the padding and the windows' weight."""
    whole = signal[N_FFT // 2 : N_FFT // 2 + length]
    whole /= _window_overlap(frames)[N_FFT // 2 : N_FFT // 2 + length]
    if tail == "dropped":
        whole[HOP_LENGTH * (frames - 1) :] = 0.0
    return whole


@lru_cache(maxsize=4)
def _window_overlap(frames: int) -> NDArray[np.float32]:
    """Sum of the squared windows of `frames` frames at each sample."""
    overlap: NDArray[np.float32] = librosa.filters.window_sumsquare(
        window="hann", n_frames=frames, hop_length=HOP_LENGTH, n_fft=N_FFT, dtype=np.float32
    )
    overlap.setflags(write=False)
    return overlap


# The loops below run over flat arrays with few operands, which is what LLVM turns into vector instructions. The flags
# leave out the care for NaN and for the sign of zero; the magnitudes have neither.
_FINITE = frozenset({"nnan", "nsz"})


@compiled(fastmath=_FINITE)
def _gains(size: NDArray[np.float32], along_time: NDArray[np.float32], along_frequency: NDArray[np.float32]) -> None:
    """In place: medians to soft masks times magnitude, `softmask(..., power=2, split_zeros=True) * size`."""
    one, half, tiny = np.float32(1.0), np.float32(0.5), np.float32(1.17549435e-38)
    for i in range(size.shape[0]):
        h, p = along_time[i], along_frequency[i]
        larger = max(h, p)
        is_empty = larger < tiny
        larger = one if is_empty else larger
        h, p = h / larger, p / larger
        h, p = h * h, p * p
        total = one if is_empty else h + p
        along_time[i] = size[i] * (half if is_empty else h / total)
        along_frequency[i] = size[i] * (half if is_empty else p / total)


@compiled(fastmath=_FINITE)
def _divide(pairs: NDArray[np.float32], size: NDArray[np.float32]) -> None:
    """In place: pairs (real, imaginary) divided by their magnitudes, zeros left."""
    one = np.float32(1.0)
    for i in range(size.shape[0]):
        divisor = size[i] if size[i] != 0 else one
        pairs[2 * i] /= divisor
        pairs[2 * i + 1] /= divisor


@compiled(fastmath=_FINITE)
def _multiply(pairs: NDArray[np.float32], gain: NDArray[np.float32], result: NDArray[np.float32]) -> None:
    for i in range(gain.shape[0]):
        result[2 * i] = gain[i] * pairs[2 * i]
        result[2 * i + 1] = gain[i] * pairs[2 * i + 1]


@compiled()
def _overlap_add(
    signal: NDArray[np.float32],
    frames: NDArray[np.float32],
    weights: NDArray[np.float64],
    start: int,
    hop_length: int,
) -> None:
    """Add windowed frames to a signal, in double precision and rounded after each, as librosa does."""
    for frame in range(frames.shape[0]):
        samples = frames[frame]
        at = start + frame * hop_length
        to = signal[at : at + samples.shape[0]]
        for i in range(samples.shape[0]):
            to[i] = np.float32(np.float64(to[i]) + weights[i] * np.float64(samples[i]))
