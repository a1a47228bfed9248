"""Memory that a thread uses again from clip to clip. Knows nothing about what is computed in it.

A clip of 30 s needs 32 MB. To ask the system for that much and give it back each time costs an eighth of the whole
analysis, since each page comes fresh and zeroed.
"""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genre_ray.fourier import HOP_LENGTH, N_BINS, N_FFT

_MOST_KEPT = 2600
"""Frames of a clip of one minute; the memory of longer ones is given back."""

_kept = threading.local()


class Workspace(NamedTuple):
    """Room for T frames: `spectrum`, `magnitude` and its medians `across` and `along`, (T, 1025) each, and two signals.

    `harmonic` and `percussive` have 2048 + 512 (T - 1) samples. The contents are what the last clip left.
    """

    spectrum: NDArray[np.complex64]
    magnitude: NDArray[np.float32]
    across: NDArray[np.float32]
    along: NDArray[np.float32]
    harmonic: NDArray[np.float32]
    percussive: NDArray[np.float32]

    def part(self, frames: int) -> "Workspace":
        """The room of the first `frames` frames."""
        samples = _samples(frames)
        return Workspace(
            self.spectrum[:frames],
            self.magnitude[:frames],
            self.across[:frames],
            self.along[:frames],
            self.harmonic[:samples],
            self.percussive[:samples],
        )


def workspace(frames: int) -> Workspace:
    """Room for `frames` frames, which this thread's next call hands out again."""
    room: Workspace | None = getattr(_kept, "room", None)
    if room is None or len(room.spectrum) < frames:
        magnitude, across, along = np.empty((3, frames, N_BINS), dtype=np.float32)
        harmonic, percussive = np.empty((2, _samples(frames)), dtype=np.float32)
        spectrum = np.empty((frames, N_BINS), dtype=np.complex64)
        room = Workspace(spectrum, magnitude, across, along, harmonic, percussive)
        if frames <= _MOST_KEPT:
            _kept.room = room
    return room.part(frames)


def _samples(frames: int) -> int:
    return N_FFT + HOP_LENGTH * (frames - 1)
