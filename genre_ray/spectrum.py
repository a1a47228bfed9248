"""One short-time Fourier transform, shared by the spectrogram and every feature. Knows nothing about files or figures.

The parameters are librosa's defaults, and the padding at both ends is by reflection, as in the librosa (0.7) that made
GTZAN's figures and table; librosa 0.11 would pad with zeros.
"""

from functools import cache
from typing import Final

import librosa
import numpy as np
from numpy.typing import NDArray

from genre_ray.errors import AudioError
from genre_ray.schema import N_MELS, SAMPLE_RATE

N_FFT = 2048
HOP_LENGTH = 512
PAD_MODE: Final = "reflect"


def stft(samples: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Complex spectrum (1025, T) of mono samples at 22050 Hz, T = 1 + n // 512.

    Raises AudioError "too_short" below one window of 2048 samples and "not_finite" for NaN or infinity.
    """
    check_samples(samples)
    spectrum: NDArray[np.complex64] = librosa.stft(samples, n_fft=N_FFT, hop_length=HOP_LENGTH, pad_mode=PAD_MODE)
    return spectrum


def mel_power(samples: NDArray[np.float32], *, stft_power: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Mel power spectrogram (128, T); from `stft_power` (1025, T), the squared magnitudes, where they are at hand."""
    power = np.abs(stft(samples)) ** 2 if stft_power is None else stft_power
    mel: NDArray[np.float32] = np.einsum("ft,mf->mt", power, mel_filters(), optimize=True)
    return mel


@cache
def mel_filters() -> NDArray[np.float32]:
    """Slaney's mel filter bank (128, 1025) as librosa makes it."""
    bank: NDArray[np.float32] = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
    bank.setflags(write=False)
    return bank


def check_samples(samples: NDArray[np.float32]) -> None:
    """AudioError when `samples` cannot be analysed: shorter than a window, or not finite."""
    if samples.ndim != 1 or len(samples) < N_FFT:
        raise AudioError(
            "too few samples to analyse",
            kind="too_short",
            found=f"shape {samples.shape}",
            expected=f"at least {N_FFT} samples of one channel at {SAMPLE_RATE} Hz",
            remedy="leave the track out",
        )
    if not np.isfinite(samples).all():
        raise AudioError(
            "samples are not finite",
            kind="not_finite",
            found="NaN or infinity among the samples",
            expected="finite numbers",
            remedy="write the file again",
        )
