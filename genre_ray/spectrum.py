"""One short-time Fourier transform, shared by the spectrogram and every feature. Knows nothing about files or figures.

The parameters are librosa's defaults, and the padding at both ends is by reflection, as in the librosa (0.7) that made
GTZAN's figures and table; librosa 0.11 would pad with zeros. Frames come in blocks that stay in the processor's cache
while all that can be said of single frames is worked out; a block is also at hand turned around, bins by frames
("lanes"), so that loops over bins work on 104 frames side by side.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.errors import AudioError
from genre_ray.fourier import HOP_LENGTH, N_BINS, N_FFT, forward
from genre_ray.medians import LANES, Turned
from genre_ray.schema import N_MELS, SAMPLE_RATE

PAD_MODE: Final = "reflect"


class Block(NamedTuple):
    """Up to 104 frames: where they are among all T, their spectrum and magnitudes (n, 1025), and those turned around.

    `turned.inside` is (1025, 104), valid in the first n columns and until the next block.
    """

    frames: slice
    spectrum: NDArray[np.complex64]
    magnitude: NDArray[np.float32]
    turned: Turned


def count_frames(samples: NDArray[np.float32]) -> int:
    """T = 1 + n // 512."""
    return 1 + len(samples) // HOP_LENGTH


def blocks(
    samples: NDArray[np.float32],
    *,
    spectrum: NDArray[np.complex64] | None = None,
    magnitude: NDArray[np.float32] | None = None,
) -> Iterator[Block]:
    """The spectrum of mono samples at 22050 Hz, `librosa.stft(pad_mode="reflect").T`, block by block.

    Equal to librosa's to the bit but for parts that cancel out, as the transform is carried out in double precision.
    What is given as `spectrum` and `magnitude`, (T, 1025) each, is filled; without them each block overwrites the last.
    Raises AudioError "too_short" below one window of 2048 samples and "not_finite" for NaN or infinity.
    """
    check_samples(samples)
    padded = np.pad(samples, N_FFT // 2, mode=PAD_MODE)
    turned = Turned(N_BINS)
    count = count_frames(samples)
    own = (np.empty((LANES, N_BINS), np.complex64), np.empty((LANES, N_BINS), np.float32))
    for start in range(0, count, LANES):
        frames = slice(start, min(start + LANES, count))
        values = own[0][: frames.stop - start] if spectrum is None else spectrum[frames]
        sizes = own[1][: frames.stop - start] if magnitude is None else magnitude[frames]
        forward(padded[start * HOP_LENGTH :], window(), values)
        np.abs(values, out=sizes)
        turned.turn(sizes)
        yield Block(frames, values, sizes, turned)


def mel_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mel power spectrogram (T, 128) of mono samples at 22050 Hz: `librosa.feature.melspectrogram(...).T`."""
    mel = np.empty((count_frames(samples), N_MELS), dtype=np.float32)
    for block in blocks(samples):
        mel[block.frames] = mel_of(block)
    return mel


def mel_of(block: Block) -> NDArray[np.float32]:
    """Mel power (n, 128) of a block."""
    mel = np.empty((N_MELS, LANES), dtype=np.float32)
    _mel(block.turned.inside.ravel(), *_sparse_mel_filters(), mel.ravel())
    return mel.T[: len(block.magnitude)]


@cache
def window() -> NDArray[np.float64]:
    """The periodic Hann window of 2048 samples."""
    hann: NDArray[np.float64] = librosa.filters.get_window("hann", N_FFT, fftbins=True)
    hann.setflags(write=False)
    return hann


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
    if not (np.isfinite(samples.min()) and np.isfinite(samples.max())):
        raise AudioError(
            "samples are not finite",
            kind="not_finite",
            found="NaN or infinity among the samples",
            expected="finite numbers",
            remedy="write the file again",
        )


@cache
def _sparse_mel_filters() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Slaney's filter bank as librosa makes it: the weights end to end, and each filter's first bin and width.

    Two thousand of 131 thousand weights are not zero.
    """
    bank: NDArray[np.float32] = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
    first = np.argmax(bank > 0, axis=1)
    count = bank.shape[1] - np.argmax(bank[:, ::-1] > 0, axis=1) - first
    weights = np.concatenate([row[a : a + n] for row, a, n in zip(bank, first, count, strict=True)])
    return weights, first, count


@compiled()
def _mel(
    magnitude: NDArray[np.float32],
    weights: NDArray[np.float32],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    mel: NDArray[np.float32],
) -> None:
    """Weighted sums of squares for each lane; `magnitude` and `mel` are flat, rows of LANES."""
    at = 0
    for m in range(count.shape[0]):
        total = mel[m * LANES : (m + 1) * LANES]
        for lane in range(LANES):
            total[lane] = 0.0
        for k in range(first[m], first[m] + count[m]):
            row, weight = magnitude[k * LANES : (k + 1) * LANES], weights[at]
            for lane in range(LANES):
                total[lane] += weight * (row[lane] * row[lane])
            at += 1
