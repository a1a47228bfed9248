"""Harmonic and percussive signals equal librosa's to the bit, whatever memory was used before."""

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from genre_ray.audio import SAMPLE_RATE
from genre_ray.separation import separate
from genre_ray.spectrum import blocks, count_frames
from genre_ray.workspace import workspace


def parts(samples: NDArray[np.float32], **options: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    room = workspace(count_frames(samples))
    for block in blocks(samples, spectrum=room.spectrum, magnitude=room.magnitude):
        block.turned.medians(room.across[block.frames])
    harmonic, percussive = separate(room, length=len(samples), **options)  # type: ignore[arg-type]
    return harmonic.copy(), percussive.copy()


def sound(seconds: float) -> NDArray[np.float32]:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    clicks = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-30 * (time % 0.25))
    return (0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * clicks).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.1, 3.0, 1.0, 2.3])
def test_both_signals_are_librosas_to_the_bit(seconds: float) -> None:
    samples = sound(seconds)
    harmonic, percussive = parts(samples)
    np.testing.assert_array_equal(harmonic, librosa.effects.harmonic(samples, pad_mode="reflect"))
    np.testing.assert_array_equal(percussive, librosa.effects.percussive(samples, pad_mode="reflect"))


def test_a_dropped_tail_is_silent_and_the_rest_the_same() -> None:
    samples = sound(1.0)
    whole = len(samples) // 512 * 512
    for kept, dropped in zip(parts(samples), parts(samples, tail="dropped"), strict=True):
        np.testing.assert_array_equal(kept[:whole], dropped[:whole])
        assert not dropped[whole:].any()


def test_digital_silence_inside_a_clip_stays_silent() -> None:
    samples = sound(3.0)
    samples[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0.0
    harmonic, percussive = parts(samples)
    np.testing.assert_array_equal(harmonic, librosa.effects.harmonic(samples, pad_mode="reflect"))
    np.testing.assert_array_equal(percussive, librosa.effects.percussive(samples, pad_mode="reflect"))
    assert not harmonic[SAMPLE_RATE + 2048 : 2 * SAMPLE_RATE - 2048].any()


def test_a_tone_is_harmonic_and_clicks_are_percussive() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    clicks = np.zeros_like(tone)
    clicks[SAMPLE_RATE // 4 :: SAMPLE_RATE // 2] = 0.9
    for samples, favoured in ((tone, 0), (clicks, 1)):
        energy = [float(np.sum(np.square(part[4096:-4096]))) for part in parts(samples)]
        assert energy[favoured] > 20 * energy[1 - favoured]
