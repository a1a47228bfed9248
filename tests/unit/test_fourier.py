"""The Fourier transforms equal numpy's: to the bit backward, to double precision forward."""

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from genre_ray.fourier import HOP_LENGTH, N_FFT, backward_add, forward

HANN = librosa.filters.get_window("hann", N_FFT, fftbins=True)


def samples(frames: int) -> NDArray[np.float32]:
    size = N_FFT + HOP_LENGTH * (frames - 1)
    return np.random.default_rng(frames).standard_normal(size).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 50])
def test_forward_is_numpys_in_double_precision(frames: int) -> None:
    signal = samples(frames)
    spectrum = np.full((frames, 1025), np.nan, dtype=np.complex64)
    forward(signal, HANN, spectrum)
    windows = np.lib.stride_tricks.sliding_window_view(signal, N_FFT)[::HOP_LENGTH]
    np.testing.assert_array_equal(spectrum, np.fft.rfft(HANN * windows, axis=1).astype(np.complex64))


def test_forward_of_one_tone_is_one_bin() -> None:
    spectrum = np.empty((1, 1025), dtype=np.complex64)
    forward(np.cos(2 * np.pi * 40 * np.arange(N_FFT) / N_FFT).astype(np.float32), np.ones(N_FFT), spectrum)
    np.testing.assert_allclose(spectrum[0], np.where(np.arange(1025) == 40, N_FFT / 2, 0), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 8, 21])
def test_backward_adds_numpys_frames_to_the_bit(frames: int) -> None:
    generator = np.random.default_rng(frames)
    spectra = generator.standard_normal((2, frames, 1025, 2)).astype(np.float32).view(np.complex64)[..., 0]
    size = N_FFT + HOP_LENGTH * (frames - 1)
    found = (np.zeros(size, np.float32), np.zeros(size, np.float32))
    for start in range(0, frames, 16):
        backward_add(np.ascontiguousarray(spectra[:, start : start + 16]), HANN, found, start * HOP_LENGTH)
    for signal, spectrum in zip(found, spectra, strict=True):
        expected = np.zeros(size, np.float32)
        for frame, values in enumerate(np.fft.irfft(spectrum, n=N_FFT, axis=1)):
            expected[frame * HOP_LENGTH :][:N_FFT] += HANN * values  # in double precision, then rounded
        np.testing.assert_array_equal(signal, expected)
