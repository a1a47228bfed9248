"""Levels from a figure and from audio are the same, pixel by pixel, and figures drawn from audio are the data set's."""

import io
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genre_ray.audio import SAMPLE_RATE, load
from genre_ray.errors import AudioError, FigureError
from genre_ray.magma import magma_colours
from genre_ray.spectrogram import (
    figure_from_frames,
    figure_from_levels,
    from_audio,
    from_figure,
    picture_from_audio,
    picture_from_figure,
)
from genre_ray.spectrum import blocks, mel_power

DATA = os.environ.get("GENRE_RAY_DATA")
real = pytest.mark.skipif(DATA is None, reason="GENRE_RAY_DATA does not name GTZAN with its audio")
SOME = ("blues.00000", "country.00000", "country.00002", "disco.00000", "rock.00006")
"""Of 1293, 1296, 1308, 1298 and 1293 frames: each has columns that begin on the edge of a pixel."""


def wav_of(name: str) -> Path:
    return Path(DATA or "", "genres_original", name.split(".")[0], f"{name}.wav")


def figure_of(name: str) -> Path:
    return Path(DATA or "", "images_original", name.split(".")[0], f"{name.replace('.', '')}.png")


def compare(name: str) -> tuple[float, float]:
    """Shares of pixels whose level is within one of the figure's, and equal to it."""
    difference = np.abs(from_audio(load(wav_of(name)), form="plot").astype(int) - from_figure(figure_of(name)))
    return float(np.mean(difference <= 1)), float(np.mean(difference == 0))


@real
@pytest.mark.parametrize("name", SOME)
def test_audio_gives_the_levels_of_the_figure(name: str) -> None:
    assert compare(name) >= (1.0, 0.9999)


@real
@pytest.mark.slow
def test_audio_gives_the_levels_of_the_figure_on_every_track() -> None:
    tracks = sorted(Path(DATA or "", "genres_original").rglob("*.wav"))
    assert len(tracks) >= 50
    assert min(compare(path.stem) for path in tracks) >= (1.0, 0.999)


@real
@pytest.mark.parametrize("name", SOME[:3])
def test_a_figure_drawn_from_audio_is_the_data_sets_in_every_pixel(name: str) -> None:
    samples = load(wav_of(name))
    drawn = np.asarray(figure_from_frames(from_audio(samples, form="frames")[0]))
    with Image.open(figure_of(name)) as image:
        differing = np.any(drawn != np.asarray(image), axis=-1)
    assert differing.mean() < 1e-4
    found = picture_from_audio(samples, size=128).astype(int)
    assert np.abs(found - picture_from_figure(figure_of(name), size=128)).max() <= 1


@real
def test_the_colours_of_all_figures_are_magmas_own() -> None:
    code = np.array([65536, 256, 1])
    table = magma_colours() @ code
    for path in sorted(Path(DATA or "", "images_original").rglob("*.png"))[::100]:
        with Image.open(path) as image:
            plot = np.asarray(image.convert("RGB"))[36:252, 55:389]
        assert np.isin(plot @ code, table).all()


def noise(seconds: float = 3.0) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1


def test_the_transform_is_librosas_to_the_bit() -> None:
    for samples in (noise(), noise(3.01), noise()[:2048], noise()[:2600]):
        expected = librosa.stft(samples, pad_mode="reflect").T
        found = np.concatenate([block.spectrum.copy() for block in blocks(samples)])
        np.testing.assert_array_equal(found[1:], expected[1:])
        np.testing.assert_allclose(
            found[0], expected[0], atol=1e-12
        )  # mirrored: its imaginary parts are rounding alone
        filled = np.empty_like(expected)
        assert sum(len(block.magnitude) for block in blocks(samples, spectrum=filled)) == len(expected)
        np.testing.assert_array_equal(filled, found)


def test_mel_power_is_librosas() -> None:
    expected = librosa.feature.melspectrogram(y=noise(), sr=SAMPLE_RATE, pad_mode="reflect").T
    np.testing.assert_allclose(mel_power(noise()), expected, rtol=2e-6)


def test_frames_are_levels_of_librosas_decibels() -> None:
    mel = librosa.feature.melspectrogram(y=noise(), sr=SAMPLE_RATE, pad_mode="reflect")
    decibels = librosa.amplitude_to_db(mel, ref=np.max)
    expected = np.clip((decibels - decibels.min()) / (decibels.max() - decibels.min()) * 256, 0, 255).astype(int)
    levels = from_audio(noise(), form="frames")
    assert levels.shape == (1, 128, 1 + 3 * SAMPLE_RATE // 512)
    assert np.abs(levels[0] - expected).max() <= 1
    assert levels.max() == 255


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.75, 40.0])
def test_the_plot_has_its_size_at_every_length(seconds: float) -> None:
    samples = noise(seconds)
    plot, frames = from_audio(samples, form="plot"), from_audio(samples, form="frames")
    assert plot.shape == (1, 128, 334)
    assert plot.dtype == np.uint8
    np.testing.assert_array_equal(plot[..., -1], frames[..., -1])
    assert set(map(bytes, plot[0].T)) <= set(map(bytes, frames[0].T))


def test_a_tone_lights_its_own_mel_bin() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    bins = librosa.mel_frequencies(n_mels=130, fmax=SAMPLE_RATE / 2)[1:-1]
    assert abs(int(from_audio(tone, form="plot")[0, :, 100].argmax()) - int(np.abs(bins - 1000).argmin())) <= 1


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        (np.zeros(SAMPLE_RATE, np.float32), "silent"),
        (noise()[:2047], "too_short"),
        (np.full(SAMPLE_RATE, np.nan, np.float32), "not_finite"),
        (np.zeros((SAMPLE_RATE, 2), np.float32), "too_short"),
    ],
)
def test_samples_without_a_spectrum_are_refused(samples: NDArray[np.float32], kind: str) -> None:
    with pytest.raises(AudioError, match="found: ") as caught:
        from_audio(samples, form="plot")
    assert caught.value.kind == kind


def drawn(levels: NDArray[np.uint8], form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = figure_from_levels(levels)
    (image if form == "PNG" else image.convert("RGB")).save(stream, form, **options)
    return stream.getvalue()


def test_a_figure_gives_back_the_levels_it_was_drawn_from() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (1, 128, 334), dtype=np.uint8)
    np.testing.assert_array_equal(from_figure(drawn(levels)), levels)
    palette = io.BytesIO()
    flat = np.tile(np.arange(0, 128, dtype=np.uint8)[:, np.newaxis], (1, 1, 334))
    figure_from_levels(flat).convert("RGB").quantize(256).save(palette, "PNG")
    np.testing.assert_array_equal(from_figure(palette.getvalue()), flat)


def test_a_jpeg_gives_nearly_the_levels_it_was_drawn_from() -> None:
    levels = from_audio(noise(30.0), form="plot")
    smooth = np.tile(np.sort(levels, axis=1)[:, :, :1], (1, 1, 334))
    found = from_figure(drawn(smooth, "JPEG", quality=90)).astype(int)
    assert np.mean(np.abs(found - smooth)) < 6


def test_the_picture_is_the_whole_figure_from_top_to_bottom() -> None:
    levels = np.zeros((1, 128, 334), np.uint8)
    levels[:, :64] = 255  # loud low frequencies
    picture = picture_from_figure(drawn(levels), size=128)
    assert picture.shape == (3, 128, 128)
    assert (picture[:, 0] == 255).all()
    assert (picture[:, 64 - 12, 64] < 20).all()
    assert (picture[0, 64 + 20, 64], picture[2, 64 + 20, 64]) == tuple(magma_colours()[255, [0, 2]])


def other(size: tuple[int, int], colour: tuple[int, int, int], form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "undecodable"),
        (b"not a picture", "undecodable"),
        (drawn(np.zeros((1, 128, 334), np.uint8))[:-400], "undecodable"),
        (other((432, 287), (0, 0, 0)), "wrong_size"),
        (other((5000, 5000), (0, 0, 0)), "too_large"),
        (other((432, 288), (0, 200, 0)), "not_a_spectrogram"),
        (other((432, 288), (0, 0, 0), "BMP"), "undecodable"),
        ("missing.png", "not_found"),
    ],
)
def test_what_is_no_figure_is_refused(content: bytes | str, kind: str) -> None:
    with pytest.raises(FigureError, match=r"found: .*expected: .*remedy: ") as caught:
        from_figure(content, track="blues.00001")
    assert caught.value.kind == kind
