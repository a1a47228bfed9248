"""Spectrogram and features of one clip in one pass: one Fourier transform and one separation for both."""

import numpy as np
from numpy.typing import NDArray

from genre_ray.features import extract_with_mel
from genre_ray.schema import Tail
from genre_ray.spectrogram import Form, from_mel_power


def analyse(
    samples: NDArray[np.float32], *, form: Form, tail: Tail = "kept"
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Levels (1, 128, 334) or (1, 128, T) and the 57 features of mono samples at 22050 Hz.

    Equal to `spectrogram.from_audio` and `features.extract`. Raises AudioError "too_short", "not_finite" or "silent".
    """
    features, mel = extract_with_mel(samples, tail=tail)
    return from_mel_power(mel, form=form), features
