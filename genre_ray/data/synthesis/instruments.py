"""Notes from formulas: plucked, bowed, struck, blown, sung and electronic. Knows nothing about genres.

All are mono float32 at SAMPLE_RATE with a peak of 1. The arguments are those of `Note`.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from genre_ray.data.synthesis.waves import Sound, envelope, low_pass, normalised, time, tone, wave
from genre_ray.schema import SAMPLE_RATE

Note = Callable[[float, float, float, np.random.Generator], Sound]
"""From frequency in Hz, duration in seconds, brightness (0 dark to 1 bright) and chance to a sound."""

_TURN = np.float32(2 * np.pi)


def pluck(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A plucked string (Karplus and Strong 1983): noise goes round in a delay line whose loop is a two-point mean."""
    t = time(duration_s)
    length = max(2, round(SAMPLE_RATE / frequency - 0.5))
    noise = signal.lfilter([1.0], [1.0, brightness - 0.85], rng.uniform(-1.0, 1.0, length))
    string = np.zeros(len(t) + length + 1)
    string[1 : length + 1] = noise - noise.mean()  # the loop would keep a constant for ever
    for start in range(length + 1, len(t) + 1, length):
        before = string[start - length - 1 : start]
        string[start : start + length] = 0.498 * (before[1:] + before[:-1])
    return normalised(string[1 : len(t) + 1] * envelope(t, 0.001, 0.03))


def piano(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """Struck strings: partials, slightly too high, that die the faster the higher they are."""
    t = time(duration_s)
    total = np.zeros_like(t)
    for number in range(1, int(min(10, 8000 // frequency)) + 1):
        partial = np.float32(number * frequency * np.sqrt(1 + 4e-4 * number**2))
        level = np.float32(number ** -(2.2 - 1.3 * brightness))
        decay = np.exp(t * np.float32(-1.2 - 0.9 * number))
        total += level * decay * np.sin(_TURN * partial * t + np.float32(rng.uniform(0, 6.3)))
    return normalised(total * envelope(t, 0.003, 0.04))


def strings(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A bowed section: three players, not quite in tune, with a slow rise."""
    t = time(duration_s)
    total = np.zeros_like(t)
    for ratio in (0.996, 1.0, 1.005):
        total += wave(frequency, frequency * ratio * t.astype(np.float64) + rng.random(), 2.1 - 1.1 * brightness)
    return normalised(total * envelope(t, min(0.09, duration_s / 3), min(0.12, duration_s / 3)))


def organ(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """Drawbars: a few partials at steady level."""
    t = time(duration_s)
    bars = ((0.5, 0.5), (1, 1.0), (2, 0.6), (3, 0.3 + 0.4 * brightness), (4, 0.5 * brightness), (6, 0.3 * brightness))
    total = np.zeros_like(t)
    for ratio, level in bars:
        total += np.float32(level) * np.sin(_TURN * np.float32(frequency * ratio) * t)
    return normalised(total * envelope(t, 0.006, 0.02))


def electric_piano(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """Frequency modulation (Chowning 1973) with a decaying index."""
    t = time(duration_s)
    index = np.float32(0.6 + 2.5 * brightness) * np.exp(-4 * t)
    phase = _TURN * np.float32(frequency) * t
    return normalised(np.sin(phase + index * np.sin(phase)) * np.exp(np.float32(-1.8) * t) * envelope(t, 0.003, 0.04))


def horn(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A wind instrument: modulation grows with the tone, breath noise, vibrato after a while."""
    t = time(duration_s)
    vibrato = np.float32(0.12) * np.sin(_TURN * np.float32(5.2) * t) * np.minimum(t * 3, 1)
    phase = _TURN * np.float32(frequency) * t + vibrato
    index = np.float32(0.8 + 2.2 * brightness) * np.minimum(t * 18, 1)
    breath = np.float32(0.05) * rng.standard_normal(len(t), dtype=np.float32)
    return normalised((np.sin(phase + index * np.sin(phase)) + breath) * envelope(t, 0.03, 0.05))


def synth(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """Two detuned sawtooth oscillators."""
    t = time(duration_s)
    slope = 1.7 - 0.8 * brightness
    return normalised((tone(frequency, t, slope) + tone(frequency * 1.006, t, slope)) * envelope(t, 0.01, 0.04))


def voice(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A sung vowel: a buzz with vibrato through three formants."""
    t = time(duration_s)
    wobble = 0.04 * np.sin(_TURN * np.float32(rng.uniform(4.8, 6.2)) * t) * np.minimum(t * 4, 1)
    buzz = wave(frequency, frequency * t.astype(np.float64) + wobble, 1.5 - 0.7 * brightness, highest_hz=5000)
    return normalised(_vowel(buzz, rng) * envelope(t, 0.04, 0.06))


def rap(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A spoken syllable: a hiss, then a falling buzz through formants."""
    t = time(duration_s)
    pitch = frequency * rng.uniform(0.85, 1.2)
    cycles = pitch * (t.astype(np.float64) - rng.uniform(0.05, 0.4) * t**2)
    buzz = _vowel(wave(pitch, cycles, 1.4 - 0.6 * brightness, highest_hz=5000), rng) * np.exp(-4 * t)
    hiss = np.diff(rng.standard_normal(len(t) + 1, dtype=np.float32)) * np.exp(-60 * t)
    share = np.float32(rng.uniform(0.1, 0.7) * (0.2 + 0.6 * brightness))
    return normalised((normalised(buzz) + hiss * share) * envelope(t, 0.008, 0.03))


def distorted(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A power chord (root, fifth, octave) of strings through an overdriven amplifier and its cabinet.

    Highs are raised before the distortion, as guitar amplifiers do, so that the lows do not smother them.
    """
    t = time(duration_s)
    chord = tone(frequency, t, 0.7) + tone(frequency * 1.498, t, 0.7) + tone(frequency * 2, t, 0.7)
    raised = np.diff(chord, prepend=np.float32(0)) * np.float32(6) + chord * np.float32(0.5)
    driven = np.tanh(np.float32(3 + 9 * brightness) * raised * np.exp(np.float32(-0.8) * t))
    return normalised(low_pass(driven, 4000 + 5000 * brightness) * envelope(t, 0.004, 0.02))


def overdriven(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A single string through an overdriven amplifier."""
    t = time(duration_s)
    string = pluck(frequency, duration_s, brightness, rng) + np.float32(0.5) * tone(frequency, t, 1.0) * np.exp(-t)
    return normalised(
        low_pass(np.tanh(np.float32(2 + 6 * brightness) * string), 3000 + 2500 * brightness) * envelope(t, 0.004, 0.03)
    )


def bass(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A finger-plucked bass guitar."""
    t = time(duration_s)
    return normalised(
        tone(frequency, t, 2.6 - 1.4 * brightness) * np.exp(np.float32(-2.2) * t) * envelope(t, 0.006, 0.03)
    )


def sub_bass(frequency: float, duration_s: float, brightness: float, rng: np.random.Generator) -> Sound:
    """A sine that starts a little high, slightly overdriven."""
    t = time(duration_s)
    phase = _TURN * np.float32(frequency) * (t + np.float32(0.02) * (1 - np.exp(-30 * t)))
    return normalised(
        np.tanh(np.float32(1 + brightness) * np.sin(phase)) * np.exp(np.float32(-0.9) * t) * envelope(t, 0.006, 0.05)
    )


INSTRUMENTS: dict[str, Note] = {
    "pluck": pluck,
    "piano": piano,
    "strings": strings,
    "organ": organ,
    "electric_piano": electric_piano,
    "horn": horn,
    "synth": synth,
    "voice": voice,
    "rap": rap,
    "distorted": distorted,
    "overdriven": overdriven,
    "bass": bass,
    "sub_bass": sub_bass,
}
"""By the names that the recipes use."""

_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
"""Formants in Hz of a, e, i, o, u (men's means, Peterson and Barney 1952)."""


def _vowel(buzz: Sound, rng: np.random.Generator) -> NDArray[np.float64]:
    total = np.zeros(len(buzz))
    for place, formant in enumerate(_VOWELS[int(rng.integers(len(_VOWELS)))]):
        total += signal.lfilter(*_formant(formant, 70 + 40 * place), buzz) / (1 + place)
    return total


@lru_cache(maxsize=64)
def _formant(centre_hz: float, width_hz: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    numerator, denominator = signal.iirpeak(centre_hz, centre_hz / width_hz, fs=SAMPLE_RATE)
    return numerator, denominator
