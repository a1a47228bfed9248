"""Formats, and files that are damaged, forged, or no audio at all."""

import io
import os
import random
import runpy
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from genre_ray import decoding
from genre_ray.audio import SAMPLE_RATE, load, probe, read_clips
from genre_ray.budget import Budget
from genre_ray.config import ClipConfig
from genre_ray.container import read_header
from genre_ray.errors import AudioError

SECONDS = 3.0
attacks: Any = runpy.run_path(str(Path(__file__).parents[1] / "e2e/serve/attacks.py"))


def sweep(rate: int, channels: int = 1) -> NDArray[np.float32]:
    """Rises from 200 to 2000 Hz: one place in it looks like no other."""
    time = np.arange(round(SECONDS * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * (200 * time + 300 * time**2))
    return np.repeat(wave.astype(np.float32)[:, np.newaxis], channels, axis=1)


def encode(path: Path, codec: str, rate: int, layout: str = "stereo", *, picture: bool = False) -> Path:
    """`sweep` in a file of the kind that the path's ending says; with a picture track if asked."""
    samples = sweep(rate, {"mono": 1, "stereo": 2, "5.1": 6}[layout])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, 128_000
        video = container.add_stream("mpeg4", rate=5, width=32, height=32, pix_fmt="yuv420p") if picture else None
        if video is not None:
            for _ in range(5):
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def by_libsndfile(path: Path, rate: int, **kind: str) -> Path:
    soundfile.write(path, sweep(rate, 2), rate, **kind)
    return path


FORMATS: dict[str, Callable[[Path], Path]] = {
    "wav": lambda p: by_libsndfile(p, 44100, subtype="PCM_16"),
    "rf64": lambda p: by_libsndfile(p, 44100, format="RF64", subtype="PCM_24"),
    "w64": lambda p: by_libsndfile(p, 32000, format="W64", subtype="FLOAT"),
    "aiff": lambda p: by_libsndfile(p, 48000, subtype="PCM_24"),
    "au": lambda p: by_libsndfile(p, 8000, subtype="ULAW"),
    "caf": lambda p: by_libsndfile(p, 44100, format="CAF", subtype="PCM_16"),
    "flac": lambda p: by_libsndfile(p, 192000, subtype="PCM_24"),
    "ogg": lambda p: by_libsndfile(p, 44100, format="OGG", subtype="VORBIS"),
    "opus": lambda p: encode(p, "libopus", 48000),
    "mp3": lambda p: encode(p, "libmp3lame", 44100),
    "m4a": lambda p: encode(p, "aac", 44100),
    "alac.m4a": lambda p: encode(p, "alac", 44100),
    "5.1.m4a": lambda p: encode(p, "aac", 48000, "5.1"),
    "aac": lambda p: encode(p, "aac", 22050, "mono"),
    "wma": lambda p: encode(p, "wmav2", 44100),
    "wv": lambda p: encode(p, "wavpack", 96000),
    "adpcm.wav": lambda p: encode(p, "adpcm_ms", 22050, "mono"),
    "webm": lambda p: encode(p, "libopus", 48000),
    "mp4": lambda p: encode(p, "aac", 44100, picture=True),
    "mkv": lambda p: encode(p, "libmp3lame", 44100, picture=True),
    "avi": lambda p: encode(p, "mp2", 44100, picture=True),
}


COARSE = {"5.1.m4a", "avi"}
"""An encoder that cuts the bass channel, and one that needs a higher bit rate."""


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_sound(kind: str, tmp_path: Path) -> None:
    path = FORMATS[kind](tmp_path / f"sound.{kind}")
    samples = load(path)
    expected = sweep(SAMPLE_RATE)[:, 0]
    assert abs(len(samples) - len(expected)) < 0.1 * SAMPLE_RATE
    lag = _lag(samples, expected)
    assert abs(lag) <= 0.1 * SAMPLE_RATE  # an encoder's delay, where the container does not say how much to skip
    first, count = 8000, 40000
    found = samples[first + lag : first + lag + count]
    assert np.corrcoef(found, expected[first : first + count])[0, 1] > (0.95 if kind in COARSE else 0.99)
    assert np.std(found) == pytest.approx(np.std(expected), rel=0.2 if kind in COARSE else 0.1)
    np.testing.assert_array_equal(samples, load(path.read_bytes()))


def _lag(samples: NDArray[np.float32], expected: NDArray[np.float32]) -> int:
    size = 1 << 18
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(expected, size))
    place = int(np.argmax(np.fft.irfft(spectrum, size)))
    return place if place < size // 2 else place - size


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = by_libsndfile(tmp_path / "sound.flac", 44100)
    for name in ("sound.mp3", "sound.raw", "sound.txt", "sound"):
        renamed = path.rename(tmp_path / name)
        assert probe(renamed).container == "flac"
        path = renamed


def _text() -> bytes:
    return b"Twas brillig, and the slithy toves did gyre and gimble in the wabe.\n" * 3000


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("sound.wav", b"RIFF")
    return stream.getvalue()


NOT_AUDIO = {
    "one byte": b"\xff",
    "text": _text(),
    "utf-16": _text().decode().encode("utf-16"),
    "html": b"<!DOCTYPE html><html><body>404</body></html>" * 50,
    "json": b'{"error": "not found"}' * 100,
    "zeros": bytes(200_000),
    "ones": b"\xff" * 200_000,
    "noise": random.Random(3).randbytes(300_000),
    "zip": _zip(),
    "playlist": b"#EXTM3U\n#EXTINF:10,\n/etc/hostname\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
    "id3 alone": b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16),
    "riff of pictures": b"RIFF" + struct.pack("<I", 100) + b"WEBP" + bytes(96),
}


@pytest.mark.parametrize("kind", NOT_AUDIO)
def test_what_is_not_audio_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(NOT_AUDIO[kind])
    with pytest.raises(AudioError, match=r"song\.mp3: .*found: .*expected: whole audio.*remedy: ") as caught:
        load(path)
    assert caught.value.kind == "not_audio"


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(AudioError, match="the file is empty") as caught:
        load(path)
    assert caught.value.kind == "empty"


@pytest.mark.parametrize("place", ["missing.wav", ".", "pipe"])
def test_what_cannot_be_opened_is_not_found(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioError, match="cannot be read") as caught:
        load(tmp_path / place)
    assert caught.value.kind == "not_found"


@pytest.mark.parametrize("kind", ["wav", "aiff", "flac", "mp3", "m4a", "mp4", "wma", "webm", "au"])
def test_half_a_file_is_truncated(kind: str, tmp_path: Path) -> None:
    data = FORMATS[kind](tmp_path / f"sound.{kind}").read_bytes()
    with pytest.raises(AudioError, match=r"found: ") as caught:
        load(data[: len(data) // 2])
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("kind", ["wav", "aiff", "flac", "mp3"])
def test_a_file_that_lacks_its_last_twentieth_is_used(kind: str, tmp_path: Path) -> None:
    data = FORMATS[kind](tmp_path / f"sound.{kind}").read_bytes()
    samples = load(data[: len(data) * 19 // 20])
    assert 0.9 * SECONDS < len(samples) / SAMPLE_RATE < SECONDS


def test_half_an_ogg_file_declares_no_length_and_is_used() -> None:
    stream = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * 22050)
    soundfile.write(stream, samples, 22050, format="OGG", subtype="VORBIS")
    data = stream.getvalue()
    assert 3.0 < len(load(data[: len(data) // 2])) / SAMPLE_RATE < 6.0
    with pytest.raises(AudioError) as caught:
        load(data[:2000])
    assert caught.value.kind == "truncated"


def test_a_picture_without_sound_has_no_audio_stream(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=5, width=32, height=32, pix_fmt="yuv420p")
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
    with pytest.raises(AudioError, match="found: streams of video") as caught:
        load(path)
    assert caught.value.kind == "no_audio_stream"


def wav_header(
    *, data: bytes, channels: int = 1, rate: int = 22050, bits: int = 16, declared: int | None = None
) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(data) if declared is None else declared
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + body


@pytest.mark.parametrize(
    ("forged", "kinds"),
    [
        ({"channels": 0}, {"bad_channels", "not_audio"}),
        ({"channels": 9}, {"bad_channels"}),
        ({"channels": 1024}, {"bad_channels"}),
        ({"channels": 65535}, {"bad_channels", "not_audio"}),
        ({"rate": 0}, {"bad_sample_rate", "not_audio"}),
        ({"rate": 4000}, {"bad_sample_rate"}),
        ({"rate": 384000}, {"bad_sample_rate"}),
        ({"rate": 0x7FFFFFFF}, {"bad_sample_rate", "not_audio"}),
        ({"declared": 400_000_000}, {"truncated", "too_long"}),
        ({"bits": 0}, {"not_audio"}),
    ],
)
def test_forged_headers_are_refused(forged: dict[str, int], kinds: set[str]) -> None:
    data = wav_header(data=bytes(range(256)) * 400, **forged)
    with pytest.raises(AudioError, match="found: ") as caught:
        load(data)
    assert caught.value.kind in kinds


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_a_stream_with_a_placeholder_for_its_length_is_read_to_its_end(declared: int) -> None:
    data = bytes(range(256)) * 400
    assert len(load(wav_header(data=data, declared=declared))) == len(data) // 2


def test_a_small_file_that_decodes_to_hours_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.full(8000 * 60, 1000, np.int16))
    data = bytearray(path.read_bytes())
    assert len(data) < 300_000
    clip = ClipConfig(max_duration_s=60.0)
    with pytest.raises(AudioError, match="found: 3600 s or more") as by_header:
        load(bytes(data), clip=clip)
    data[21] &= 0xF0
    data[22:26] = bytes(4)  # STREAMINFO's total samples: not known
    with pytest.raises(AudioError, match=r"found: 6[0-9] s or more") as by_count:
        list(read_clips(bytes(data), clip=clip))
    assert by_header.value.kind == by_count.value.kind == "too_long"
    data[22:26] = struct.pack(">I", 8000 * 30)  # half a minute, says the header, and no more is decoded
    assert [start for start, _ in read_clips(bytes(data), clip=clip)] == [0.0]


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "not_finite"), (np.inf, "not_finite"), (1e30, "out_of_range")])
def test_wild_samples_are_refused(value: float, kind: str) -> None:
    samples = sweep(22050)
    samples[1000] = value
    stream = io.BytesIO()
    soundfile.write(stream, samples, 22050, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match="found: ") as caught:
        load(stream.getvalue())
    assert caught.value.kind == kind


def test_a_header_without_sound_is_empty() -> None:
    with pytest.raises(AudioError, match="a header without sound") as caught:
        load(wav_header(data=b""))
    assert caught.value.kind == "empty"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "mkv", "wma", "aiff", "opus"])
def test_damage_of_any_kind_gives_sound_or_a_typed_error(kind: str, tmp_path: Path) -> None:
    whole = FORMATS[kind](tmp_path / f"sound.{kind}").read_bytes()
    generator = random.Random(5)
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 10, 200])):
            data[generator.randrange(generator.choice([64, len(data)]))] = generator.randrange(256)
        cut = data[generator.choice([0, 0, 1, 1000]) : generator.choice([len(data), generator.randrange(len(data))])]
        try:
            for _, window in read_clips(bytes(cut), clip=ClipConfig(max_duration_s=60.0)):
                assert np.isfinite(window).all()
        except AudioError as error:
            assert error.kind  # noqa: PT017 - either outcome is right


def test_the_header_tells_mp3_from_a_stray_sync_word(tmp_path: Path) -> None:
    song = FORMATS["mp3"](tmp_path / "sound.mp3").read_bytes()
    assert read_header(io.BytesIO(song)).container == "mp3"
    assert read_header(io.BytesIO(b"\0" * 5000 + song[200:])).container == "mp3"
    assert read_header(io.BytesIO(_text() + b"\xff\xfb\x90\x64" + _text())).container == "other"


PCM = {
    "wav": "u8 s16le s24le s32le s64le f32le f64le alaw mulaw",
    "aiff": "s8 s16be s24be s32be f32be f64be alaw mulaw s16le",
    "au": "s8 s16be s24be s32be f32be f64be alaw mulaw",
    "mov": "s8 s16be s16le s24be s24le s32be s32le f32be f32le f64be f64le alaw mulaw u8",
    "mka": "u8 s16be s16le s24le s32le f32le f64le",
    "caf": "s8 s16be s16le s24be s32le f32be f64le alaw mulaw",
}


@pytest.mark.parametrize(("ending", "kind"), [(e, kind) for e, kinds in PCM.items() for kind in kinds.split()])
@pytest.mark.parametrize("by_ffmpeg", [False, True])
def test_samples_of_every_width_are_read(
    ending: str, kind: str, by_ffmpeg: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / f"sound.{ending}", f"pcm_{kind}", SAMPLE_RATE)
    if by_ffmpeg:
        monkeypatch.setattr(decoding, "_BY_LIBSNDFILE", frozenset())
    close = 0.02 if kind in ("u8", "s8", "alaw", "mulaw") else 1e-4
    np.testing.assert_allclose(load(path), sweep(SAMPLE_RATE)[:, 0], atol=close)


@pytest.mark.parametrize(("code", "bits"), [(3, 16), (3, 24), (1, 64), (1, 48), (1, 40), (2, 4), (17, 4), (0x55, 0)])
def test_forged_widths_give_sound_or_a_typed_error(code: int, bits: int) -> None:
    try:
        assert np.isfinite(load(attacks["wav"](40_000, code=code, bits=bits))).all()
    except AudioError as error:
        assert error.kind  # noqa: PT017 - either outcome is right


def test_only_sound_is_decoded_even_to_see_what_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 8000 x 8000 pixels, as a video of one frame, took 250 MB before the sound was looked at."""
    given: list[dict[str, Any]] = []
    real = av.open
    monkeypatch.setattr("genre_ray.decoding.av.open", lambda *a, **b: given.append(b["options"]) or real(*a, **b))
    with pytest.raises(AudioError, match="no audio stream"):
        load(attacks["mp4"](attacks["mp4_track"](1, size=50, codec=b"png ", picture=64)))
    names = set(given[0]["codec_whitelist"].split(","))
    assert {"aac", "mp3float", "pcm_s16le", "adpcm_ms", "libopus"} <= names
    assert all(av.Codec(name, "r").type == "audio" for name in names & av.codecs_available - {"libspeex", "libvorbis"})
    assert not names & {"wavesynth", "anull", "png", "h264"}


def test_ffmpeg_takes_no_large_piece_of_memory() -> None:
    decoding._limit_allocations()
    with pytest.raises((MemoryError, av.error.FFmpegError, ValueError)):
        av.AudioFrame(format="fltp", layout="mono", samples=40 << 20)
    assert av.AudioFrame(format="fltp", layout="mono", samples=1 << 20).samples == 1 << 20


SLOW = {
    "one sample a packet": lambda: attacks["mp4_of_single_samples"](60_000),
    "two bytes a block": lambda: attacks["webm"](60_000),
    "seven bytes a frame": lambda: b"\xff\xf1\x50\x80\x00\xff\xfc" * 300_000,
    "empty packets": lambda: attacks["webm"](300_000, codec=b"A_VORBIS", payload=b""),
}


@pytest.mark.parametrize("kind", SLOW)
def test_packets_without_end_stop_when_their_time_is_up(kind: str) -> None:
    content, start = SLOW[kind](), time.thread_time()
    with pytest.raises(AudioError, match=r"processor time for (decoding|opening), after 0 windows") as refused:
        list(read_clips(content, clip=ClipConfig(duration_s=120.0), budget=Budget(decode_cpu_s=0.2)))
    assert refused.value.kind == "limit"
    assert time.thread_time() - start < 1.0


def test_packets_of_one_sample_are_the_sound_that_they_are() -> None:
    samples = load(attacks["mp4_of_single_samples"](30_000))
    assert abs(len(samples) - 30_000 * SAMPLE_RATE / 8000) < 10
    assert np.ptp(samples[2000:-2000]) < 1e-3
