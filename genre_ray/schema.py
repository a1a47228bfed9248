"""The nouns every floor shares: Track, Clip, Sample, Batch, and GTZAN's genres and feature columns.

Knows nothing about Ray, torch, or how anything is computed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genre_ray.abstention import is_unsure

GENRES: tuple[str, ...] = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
"""GTZAN's genres in their order (Tzanetakis and Cook 2002). A checkpoint carries the labels of its own corpus."""

_SUMMARISED = (
    "chroma_stft",
    "rms",
    "spectral_centroid",
    "spectral_bandwidth",
    "rolloff",
    "zero_crossing_rate",
    "harmony",
    "perceptr",
)
_N_MFCC = 20

FEATURE_COLUMNS: tuple[str, ...] = (
    *(f"{name}_{statistic}" for name in _SUMMARISED for statistic in ("mean", "var")),
    "tempo",
    *(f"mfcc{i}_{statistic}" for i in range(1, _N_MFCC + 1) for statistic in ("mean", "var")),
)
"""The 57 numeric columns of GTZAN's `features_30_sec.csv` in their order; `length` leaks the label and is not one."""

Tail = Literal["dropped", "kept"]
"""What becomes of the last n % 512 samples of the harmonic and percussive signals; see `features.extract`."""

SAMPLE_RATE = 22050
"""Of all audio inside the house, in Hz: GTZAN's."""

N_MELS = 128
"""Mel bins of a spectrogram (the data set's `n_mels`)."""

FIGURE_COLUMNS = 334
"""Columns of the plot area of a GTZAN figure."""

Source = str | Path | bytes
"""Where content comes from: a local path, a URI such as `s3://bucket/key`, or the bytes themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One recording: its id, what is known about it, and what it has of audio, figure and features.

    `features` is a float64 row of shape (57,) in the order of FEATURE_COLUMNS.
    """

    id: str
    label: str | None = None
    audio: Source | None = None
    figure: Source | None = None
    features: NDArray[np.float64] | None = field(default=None, compare=False)
    artist: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A window of a track in canonical form: stateless, cacheable, the same for training and serving.

    `spectrogram` is uint8 of shape (channels, rows, columns): (1, 128, 334) for the plot area, (1, 128, T) for the full
    time resolution, (3, 128, 128) for the paper's whole figure; row 0 is the lowest frequency, except for the whole
    figure, which is an image from top to bottom. `features` is float64 of shape (57,). Either may be None.
    """

    track: str
    label: str | None = None
    index: int = 0
    start_s: float = 0.0
    spectrogram: NDArray[np.uint8] | None = field(default=None, compare=False)
    features: NDArray[np.float64] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A clip as a fitted Preprocessor leaves it: canonical spectrogram, scaled features, label as an index.

    `spectrogram` is uint8 (channels, rows, columns); `features` is float32 (n_features,); `target` is None for a track
    whose genre is not known.
    """

    track: str
    index: int = 0
    start_s: float = 0.0
    target: int | None = None
    spectrogram: NDArray[np.uint8] | None = field(default=None, compare=False)
    features: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a model takes: `spectrogram` float32 (B, C, H, W), `features` float32 (B, F), `target` int64 (B,)."""

    spectrogram: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    target: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of samples in the batch."""
        for part in (self.spectrogram, self.features, self.target):
            if part is not None:
                return len(part)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPrediction:
    """Probabilities of one clip, shape (n_labels,), and where in the track it starts."""

    start_s: float
    probabilities: NDArray[np.float32] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer for a track: `probabilities` float32 (n_labels,) in the order of `labels`, the mean over its clips."""

    track: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32] = field(compare=False)
    clips: tuple[ClipPrediction, ...] = ()
    unsure_below: float = 0.0
    """The model's own threshold: of answers from it on, few enough were wrong on held-out tracks. 1: every answer is
    unsure."""

    @property
    def unsure(self) -> bool:
        """Whether even the most probable genre is too improbable to go by."""
        return is_unsure(float(np.max(self.probabilities)), self.unsure_below)

    @property
    def label(self) -> str:
        """The most probable genre."""
        return self.labels[int(np.argmax(self.probabilities))]
