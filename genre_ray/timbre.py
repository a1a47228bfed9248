"""Loudness, zero crossings and the shape of the spectrum, frame by frame. Knows nothing about files or summaries.

Each function gives what librosa's function of that name gives, with `pad_mode="reflect"` where it has one.
"""

import math

import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.fourier import HOP_LENGTH, N_BINS, N_FFT
from genre_ray.medians import LANES
from genre_ray.schema import SAMPLE_RATE
from genre_ray.spectrum import PAD_MODE, Block

_ROLL_PERCENT = 0.85
_ZERO = 1e-10


def rms(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square of each frame (T,), from sums over hops."""
    padded = np.pad(samples, N_FFT // 2, mode=PAD_MODE)
    hops = padded[: len(padded) // HOP_LENGTH * HOP_LENGTH].reshape(-1, HOP_LENGTH)
    power = np.einsum("hi,hi->h", hops, hops)
    return np.sqrt(_over_frames(power.astype(np.float64)) / N_FFT)


def zero_crossing_rate(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of each frame's samples whose sign differs from that of the sample before them in the frame, (T,)."""
    padded = np.pad(samples, N_FFT // 2, mode="edge")
    negative = padded < -_ZERO
    crossings = np.zeros(len(padded) // HOP_LENGTH * HOP_LENGTH, dtype=bool)
    np.not_equal(negative[1 : len(crossings)], negative[: len(crossings) - 1], out=crossings[1:])
    hops = crossings.reshape(-1, HOP_LENGTH)
    frames = _over_frames(np.count_nonzero(hops, axis=1))
    first = hops[: len(frames), 0]  # the crossing into a frame is not counted in it
    return (frames - first) / N_FFT


def spectral_shape(block: Block) -> NDArray[np.float64]:
    """Centroid, bandwidth and roll-off at 85 %, in Hz, of the frames of a block, (3, n); Klapuri and Davy (2007)."""
    shape = np.empty((3, LANES))
    _spectral_shape(block.turned.inside.ravel(), np.float32(_ROLL_PERCENT), shape)
    return shape[:, : len(block.magnitude)] * (SAMPLE_RATE / N_FFT)


def _over_frames(hops: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums over the hops of each frame."""
    sums: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(hops, N_FFT // HOP_LENGTH).sum(axis=1)
    return sums


@compiled()
def _spectral_shape(magnitude: NDArray[np.float32], roll_percent: np.float32, shape: NDArray[np.float64]) -> None:
    """For each lane, in bins; `magnitude` is flat, rows of LANES.

    Roll-off is a choice of one bin, so its sums are made in single precision and in order, as `np.cumsum` does.
    """
    mass, weighted, squared = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    total = np.zeros(LANES, dtype=np.float32)
    running = np.empty(N_BINS * LANES, dtype=np.float32)
    for k in range(N_BINS):
        row, sums = magnitude[k * LANES : (k + 1) * LANES], running[k * LANES : (k + 1) * LANES]
        for lane in range(LANES):
            total[lane] += row[lane]
            sums[lane] = total[lane]
        for lane in range(LANES):
            size = np.float64(row[lane])
            mass[lane] += size
            weighted[lane] += size * k
            squared[lane] += size * (k * k)
    for lane in range(LANES):
        divisor = mass[lane] if mass[lane] >= 1.17549435e-38 else 1.0
        centroid = weighted[lane] / divisor
        shape[0, lane] = centroid
        shape[1, lane] = math.sqrt(max(squared[lane] / divisor - centroid * centroid, 0.0))
        threshold = roll_percent * total[lane]
        k = 0
        while running[k * LANES + lane] < threshold:
            k += 1
        shape[2, lane] = k
