"""Clips of a track: where they start, what is repeated, skipped or refused, and how little of it is held in memory."""

import io
import tracemalloc
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from genre_ray.audio import SAMPLE_RATE, load, probe, read_clips
from genre_ray.config import ClipConfig
from genre_ray.errors import AudioError

RATE = SAMPLE_RATE
TWO_SECONDS = ClipConfig(duration_s=2.0)


def noise(seconds: float, *, rate: int = RATE, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    shape = (round(seconds * rate), channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def wav(samples: NDArray[np.float32], *, rate: int = RATE, subtype: str = "FLOAT") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


def starts(seconds: float, clip: ClipConfig) -> list[float]:
    samples = noise(seconds)
    windows = list(read_clips(wav(samples), clip=clip))
    for start_s, window in windows:
        first = round(start_s * RATE)
        np.testing.assert_array_equal(window, samples[first : first + len(window), 0])
    return [start_s for start_s, _ in windows]


@pytest.mark.parametrize("seconds", [1.85, 2.0, 2.19])
def test_a_track_of_about_one_clip_comes_out_whole_and_untouched(seconds: float) -> None:
    samples = noise(seconds)
    [(start_s, window)] = read_clips(wav(samples), clip=TWO_SECONDS)
    assert start_s == 0.0
    np.testing.assert_array_equal(window, samples[:, 0])


def test_a_short_track_is_repeated_until_the_clip_is_full() -> None:
    samples = noise(1.2)[:, 0]
    [(_, window)] = read_clips(wav(samples), clip=TWO_SECONDS)
    np.testing.assert_array_equal(window, np.concatenate([samples, samples])[: 2 * RATE])


def test_a_track_below_the_minimum_is_refused_with_both_lengths() -> None:
    with pytest.raises(AudioError, match=r"short\.wav: too short; found: 0\.90 s.*at least 1 s") as caught:
        list(read_clips(wav(noise(0.9)), clip=TWO_SECONDS, track="short.wav"))
    assert (caught.value.kind, caught.value.track) == ("too_short", "short.wav")


def test_a_remainder_below_half_a_clip_is_dropped() -> None:
    assert starts(4.9, TWO_SECONDS) == [0.0, 2.0]


def test_a_longer_remainder_gives_a_last_clip_that_ends_with_the_track() -> None:
    assert starts(5.5, TWO_SECONDS) == [0.0, 2.0, 3.5]


def test_clips_overlap_by_the_hop() -> None:
    assert starts(4.0, ClipConfig(duration_s=2.0, hop_s=0.5)) == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_clips_may_leave_gaps() -> None:
    assert starts(10.0, ClipConfig(duration_s=1.0, hop_s=4.0)) == [0.0, 4.0, 8.0]


def test_a_track_just_over_one_clip_has_its_first_clip_only() -> None:
    assert starts(2.3, TWO_SECONDS) == [0.0]


def test_silent_clips_are_left_out_of_a_longer_track() -> None:
    samples = noise(8.0)
    samples[2 * RATE : 4 * RATE] = 0.0
    samples[6 * RATE :] = 1e-6
    assert [start for start, _ in read_clips(wav(samples), clip=TWO_SECONDS)] == [0.0, 4.0]


@pytest.mark.parametrize("seconds", [1.0, 2.0, 7.0])
def test_nothing_but_silence_is_an_error(seconds: float) -> None:
    with pytest.raises(AudioError, match="no sample above") as caught:
        list(read_clips(wav(np.zeros(round(seconds * RATE), np.float32)), clip=TWO_SECONDS))
    assert caught.value.kind == "silent"


def test_load_returns_what_librosa_loads(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    for rate, subtype in ((8000, "PCM_U8"), (22050, "PCM_16"), (44100, "PCM_24"), (96000, "FLOAT")):
        soundfile.write(path, noise(1.5, rate=rate, channels=2), rate, subtype=subtype)
        expected, _ = librosa.load(path, sr=RATE, mono=True)
        found = load(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[: len(found)])
        assert abs(len(found) - len(expected)) <= 1


def test_blocks_and_the_whole_are_resampled_alike() -> None:
    data = wav(noise(30.5, rate=44100), rate=44100)
    whole = load(data)
    windows = list(read_clips(data, clip=TWO_SECONDS))
    assert len(windows) == 15
    for start_s, window in windows:
        first = round(start_s * RATE)
        np.testing.assert_array_equal(window, whole[first : first + len(window)])


def test_a_tone_keeps_its_height_and_level_at_every_rate() -> None:
    for rate in (8000, 11025, 48000, 192000):
        tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
        samples = load(wav(tone.astype(np.float32), rate=rate))
        middle = samples[4410:-4410].astype(np.float64)
        expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(4410, 4410 + len(middle)) / RATE)
        assert np.max(np.abs(middle - expected)) < 1e-4


def test_channels_are_averaged() -> None:
    samples = noise(1.0, channels=6)
    np.testing.assert_allclose(load(wav(samples)), samples.mean(axis=1), atol=1e-7)


def test_probe_reads_the_header_alone() -> None:
    data = wav(noise(1.5, rate=48000, channels=2), rate=48000, subtype="PCM_24")
    info = probe(data)
    assert (info.container, info.codec, info.sample_rate, info.channels) == ("wav", "pcm_24", 48000, 2)
    assert info.duration_s == pytest.approx(1.5)


def test_a_long_file_is_refused_by_its_header() -> None:
    with pytest.raises(AudioError, match=r"found: 3 s or more; expected: at most 2 s") as caught:
        load(wav(noise(3.0)), clip=ClipConfig(max_duration_s=2.0))
    assert caught.value.kind == "too_long"


def test_a_large_file_is_refused_unopened() -> None:
    with pytest.raises(AudioError, match="expected: at most 1024 bytes") as caught:
        load(wav(noise(1.0)), clip=ClipConfig(max_bytes=1024))
    assert caught.value.kind == "too_large"


def test_an_hour_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    minute = noise(60.0, rate=8000)
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    tracemalloc.start()
    try:
        windows = [start for start, _ in read_clips(path, clip=ClipConfig())]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(windows) == 120
    assert all(b - a == 30.0 for a, b in pairwise(windows))
    assert peak < 30e6  # the whole hour is 318 MB


def test_a_reader_who_stops_early_leaves_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav(noise(20.0)))
    clips = read_clips(path, clip=TWO_SECONDS)
    assert next(clips)[0] == 0.0
    clips.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(clips)
