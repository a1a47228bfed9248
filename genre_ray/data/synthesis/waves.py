"""Time, periodic waves, envelopes, filters and a room: what every synthetic sound is made with.

Knows nothing about instruments. All sounds are mono float32 at SAMPLE_RATE. Where a sound needs chance, it is given a
Generator.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from genre_ray.schema import SAMPLE_RATE

Sound = NDArray[np.float32]

_PERIOD = 4096
"""Samples of a stored period; the error of the nearest one is below -66 dB."""


def time(duration_s: float) -> Sound:
    """Sample times in seconds."""
    return np.arange(max(1, round(duration_s * SAMPLE_RATE)), dtype=np.float32) / np.float32(SAMPLE_RATE)


def envelope(t: Sound, attack_s: float, release_s: float) -> Sound:
    """Linear rise and fall at the ends of a note, so that it neither clicks nor overlaps the next."""
    rise = np.minimum(t / np.float32(max(attack_s, 1e-3)), np.float32(1))
    return np.asarray(rise * np.clip((t[-1] - t) / np.float32(max(release_s, 1e-3)), 0.0, 1.0), dtype=np.float32)


def wave(frequency: float, cycles: NDArray[np.floating], slope: float, *, highest_hz: float = 9000.0) -> Sound:
    """Sines at the multiples of a fundamental below `highest_hz`, at most 24, the n-th with amplitude n ** -slope.

    `cycles` is the phase of the fundamental in turns; `frequency` only says which harmonics there are.
    """
    top = max(1, int(min(24, highest_hz // frequency)))
    place = (cycles * _PERIOD).astype(np.int32) & (_PERIOD - 1)
    return np.take(_period(top, round(slope, 2)), place)


def tone(frequency: float, t: Sound, slope: float) -> Sound:
    """`wave` at a steady pitch."""
    return wave(frequency, frequency * t.astype(np.float64), slope)


def low_pass(sound: NDArray[np.floating], cutoff_hz: float) -> Sound:
    """Butterworth, second order."""
    return _filtered(sound, cutoff_hz, "low")


def high_pass(sound: NDArray[np.floating], cutoff_hz: float) -> Sound:
    """Butterworth, second order."""
    return _filtered(sound, cutoff_hz, "high")


def normalised(sound: NDArray[np.floating]) -> Sound:
    """With a peak of 1."""
    return (sound / np.float32(np.abs(sound).max() + 1e-9)).astype(np.float32)


def record(sound: Sound, *, room: float, decay_s: float, cutoff_hz: float, rng: np.random.Generator) -> Sound:
    """The sound in a room and through a recording chain, in one pass over its spectrum.

    `room` is the share of reverberation, decaying noise (Moorer 1979) that falls by 60 dB in `decay_s`; what is above
    `cutoff_hz` is damped, by 12 dB an octave.
    """
    t = time(decay_s)
    tail = rng.standard_normal(len(t), dtype=np.float32) * np.exp(np.float32(-6.9 / decay_s) * t)
    tail *= np.float32(room) / np.sqrt(np.square(tail).sum())
    tail[0] += np.float32(1 - room)
    size = fft.next_fast_len(len(sound) + len(tail), real=True)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1, dtype=np.float32)
    damping = 1 / np.sqrt(1 + (frequencies / np.float32(cutoff_hz)) ** 4)
    spectrum = fft.rfft(sound, size) * fft.rfft(tail, size) * damping
    return np.asarray(fft.irfft(spectrum, size)[: len(sound)], dtype=np.float32)


@lru_cache(maxsize=1024)
def _period(top: int, slope: float) -> Sound:
    levels = np.zeros(_PERIOD // 2 + 1, dtype=np.complex128)
    levels[1 : top + 1] = -1j * np.arange(1, top + 1) ** -slope
    return normalised(np.fft.irfft(levels))


def _filtered(sound: NDArray[np.floating], cutoff_hz: float, kind: Literal["low", "high"]) -> Sound:
    numerator, denominator = _design(round(min(cutoff_hz, 0.45 * SAMPLE_RATE)), kind)
    return np.asarray(signal.lfilter(numerator, denominator, sound), dtype=np.float32)


@lru_cache(maxsize=1024)
def _design(cutoff_hz: int, kind: Literal["low", "high"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    numerator, denominator = signal.butter(2, cutoff_hz, kind, fs=SAMPLE_RATE)
    return numerator, denominator
