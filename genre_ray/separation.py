"""Harmonic-percussive separation by median filtering, once, for both parts. Knows nothing about files or features.

Fitzgerald, "Harmonic/percussive separation using median filtering" (2010), as `librosa.effects.harmonic` and
`percussive` do it: medians of 31 along time and along frequency, soft masks of power 2, inverse transform. All is done
in the order and precision of librosa 0.11 and numpy, so that both signals equal librosa's to the bit.
"""

from functools import lru_cache

import librosa
import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.fourier import HOP_LENGTH, N_BINS, N_FFT, backward_add
from genre_ray.medians import median_over_rows
from genre_ray.schema import Tail
from genre_ray.spectrum import window
from genre_ray.workspace import Workspace

_BLOCK = 16


def separate(room: Workspace, *, length: int, tail: Tail = "kept") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The harmonic and the percussive signal, (length,) each, of the spectrum in `room`, whose memory they share.

    `across` holds the medians of `magnitude` along frequency; it, `along` and the signals are overwritten. They become
    `librosa.effects.harmonic(y, pad_mode="reflect")` and `librosa.effects.percussive(y, pad_mode="reflect")`. With the
    `tail` "dropped", what follows the last whole hop is zero, as librosa 0.7 left it.
    """
    median_over_rows(room.magnitude, room.along)
    signals = (room.harmonic, room.percussive)
    for signal in signals:
        signal[:] = 0.0
    frames = len(room.spectrum)
    both = np.empty((2, _BLOCK, N_BINS), dtype=np.complex64)
    for start in range(0, frames, _BLOCK):
        block = slice(start, start + _BLOCK)
        spectrum, magnitude = room.spectrum[block].view(np.float32), room.magnitude[block]
        parts = both[:, : len(magnitude)]
        _mask(spectrum, magnitude, room.along[block], room.across[block], parts.view(np.float32))
        backward_add(parts, window(), signals, start * HOP_LENGTH)
    harmonic, percussive = (_normalised(signal, frames, length, tail) for signal in signals)
    return harmonic, percussive


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


@compiled(fastmath=frozenset({"nnan", "nsz"}))
def _mask(
    spectrum: NDArray[np.float32],
    magnitude: NDArray[np.float32],
    along: NDArray[np.float32],
    across: NDArray[np.float32],
    parts: NDArray[np.float32],
) -> None:
    """Harmonic and percussive spectra: magnitude times `softmask(..., power=2, split_zeros=True)`, times phase.

    Complex numbers are pairs here. `along` and `across` are overwritten with mask times magnitude. The flags leave out
    the care for NaN and for the sign of zero: magnitudes have neither. LLVM vectorises short loops of few operands.
    """
    one, half, tiny = np.float32(1.0), np.float32(0.5), np.float32(1.17549435e-38)
    for frame in range(magnitude.shape[0]):
        size, h_gain, p_gain, pairs = magnitude[frame], along[frame], across[frame], spectrum[frame]
        for k in range(size.shape[0]):
            h, p = h_gain[k], p_gain[k]
            larger = max(h, p)
            is_empty = larger < tiny
            larger = one if is_empty else larger
            h, p = h / larger, p / larger
            h, p = h * h, p * p
            total = one if is_empty else h + p
            h_gain[k] = size[k] * (half if is_empty else h / total)
            p_gain[k] = size[k] * (half if is_empty else p / total)
        harmonic, percussive = parts[0, frame], parts[1, frame]
        for k in range(size.shape[0]):
            divisor = size[k] if size[k] != 0 else one
            real, imaginary = pairs[2 * k] / divisor, pairs[2 * k + 1] / divisor
            harmonic[2 * k], harmonic[2 * k + 1] = h_gain[k] * real, h_gain[k] * imaginary
            percussive[2 * k], percussive[2 * k + 1] = p_gain[k] * real, p_gain[k] * imaginary
