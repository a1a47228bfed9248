"""Chroma with librosa's estimate of the tuning. Knows nothing about files or the other features.

`librosa.feature.chroma_stft` spends most of its time in `piptrack`, which interpolates every bin of the spectrum to
keep some per cent of them. Here only the bins that can be peaks are looked at, with the same arithmetic in the same
precision.
"""

from functools import lru_cache

import librosa
import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.fourier import N_FFT
from genre_ray.schema import SAMPLE_RATE

_N_CHROMA = 12
_LOWEST_HZ, _HIGHEST_HZ = 150.0, 4000.0
_THRESHOLD = 0.1
_RESOLUTION = 0.01
_BLOCK = 64


def chroma(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Chroma (T, 12) of magnitudes (T, 1025), each frame divided by its maximum: `chroma_stft(S=magnitude**2).T`."""
    filters = _filters(tuning(magnitude)).T
    raw = np.empty((len(magnitude), _N_CHROMA), dtype=np.float32)
    for start in range(0, len(magnitude), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.matmul(np.square(magnitude[block]), filters, out=raw[block])
    peak = np.max(raw, axis=1, keepdims=True).astype(np.float64)
    peak[peak < np.finfo(np.float32).tiny] = 1.0
    normalised: NDArray[np.float32] = (raw / peak).astype(np.float32)
    return normalised


def tuning(magnitude: NDArray[np.float32]) -> float:
    """Deviation from A = 440 Hz in fractions of a semitone, -0.5 to 0.49: `librosa.estimate_tuning(S=magnitude**2)`."""
    hertz = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=N_FFT)
    first, stop = np.searchsorted(hertz, (_LOWEST_HZ, _HIGHEST_HZ))
    most = len(magnitude) * int(stop - first + 1) // 2
    pitches, sizes = np.empty(most, dtype=np.float32), np.empty(most, dtype=np.float32)
    threshold = np.float32(_THRESHOLD) * np.square(np.max(magnitude, axis=1))
    count = _peaks(magnitude, threshold, int(first), int(stop), SAMPLE_RATE / N_FFT, pitches, sizes)
    if count == 0:
        return 0.0
    loud = sizes[:count] >= np.median(sizes[:count])
    estimate = librosa.pitch_tuning(pitches[:count][loud], resolution=_RESOLUTION, bins_per_octave=_N_CHROMA)
    return float(estimate)


@lru_cache(maxsize=128)
def _filters(deviation: float) -> NDArray[np.float32]:
    """One of librosa's chroma filter banks (12, 1025); there are a hundred, one for each tuning."""
    bank: NDArray[np.float32] = librosa.filters.chroma(
        sr=SAMPLE_RATE, n_fft=N_FFT, tuning=deviation, n_chroma=_N_CHROMA
    )
    bank.setflags(write=False)
    return bank


@compiled()
def _peaks(
    magnitude: NDArray[np.float32],
    threshold: NDArray[np.float32],
    first: int,
    stop: int,
    bin_hz: float,
    pitches: NDArray[np.float32],
    sizes: NDArray[np.float32],
) -> int:
    """Peaks of power in bins `first` to `stop` above their frame's threshold: frequency, size; returns their number.

    Parabolic interpolation as in `librosa.piptrack` (J. O. Smith, "Spectral Audio Signal Processing", 2011).
    """
    zero, half = np.float32(0.0), np.float32(0.5)
    count = 0
    for frame in range(magnitude.shape[0]):
        floor = threshold[frame]
        row = magnitude[frame]
        for k in range(first, stop):
            here = row[k] * row[k]
            if not here > floor:
                continue
            before, after = row[k - 1] * row[k - 1], row[k + 1] * row[k + 1]
            if here > (before if before > floor else zero) and here >= (after if after > floor else zero):
                curve = np.float64(after + before) - 2.0 * np.float64(here)
                slope = np.float64(after - before) / 2.0
                shift = zero if abs(slope) >= abs(curve) else np.float32(-slope / curve)
                pitches[count] = np.float32((k + np.float64(shift)) * bin_hz)
                sizes[count] = here + half * ((after - before) * half) * shift
                count += 1
    return count
