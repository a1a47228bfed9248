"""The 57 numeric columns of GTZAN's table, from audio or from a row. Knows nothing about files, scaling or models.

From audio they are the means and variances of librosa 0.11's functions with its default parameters, `sr=22050` and
`pad_mode="reflect"` (see `genre_ray.spectrum`), all on one Fourier transform and one separation.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from genre_ray.errors import FeatureError
from genre_ray.rhythm import tempo
from genre_ray.schema import FEATURE_COLUMNS, N_MELS, Tail
from genre_ray.separation import separate
from genre_ray.spectrum import blocks, count_frames, mel_of
from genre_ray.timbre import rms, spectral_shape, zero_crossing_rate
from genre_ray.tonality import chroma
from genre_ray.workspace import workspace

_N_MFCC = 20
_AMIN = 1e-10
_TOP_DB = 80.0
_SHOWN_COLUMNS = 8


def extract(samples: NDArray[np.float32], *, tail: Tail = "kept") -> NDArray[np.float64]:
    """The 57 features, float64 (57,), of mono samples at 22050 Hz, in the order of FEATURE_COLUMNS.

    Equal to librosa's functions called one by one to a relative 1e-5 (mostly 1e-7), and to the bit for the harmonic and
    percussive signals, whose mean is next to zero. GTZAN's table was made with librosa 0.7, which left the last n % 512
    samples of these two signals at zero: with the `tail` "dropped" it is so here, and every column equals the table's
    to a hundred-thousandth of its standard deviation. Raises AudioError "too_short" or "not_finite".
    """
    return extract_with_mel(samples, tail=tail)[0]


def extract_with_mel(
    samples: NDArray[np.float32], *, tail: Tail = "kept"
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The features and the mel power spectrogram (T, 128) out of one pass; see `extract`."""
    count = count_frames(samples)
    room = workspace(count)
    mel = np.empty((count, N_MELS), dtype=np.float32)
    shape = np.empty((3, count))
    for block in blocks(samples, spectrum=room.spectrum, magnitude=room.magnitude):
        mel[block.frames] = mel_of(block)
        shape[:, block.frames] = spectral_shape(block)
        block.turned.medians(room.across[block.frames])
    mel_db = _power_to_db(mel)
    harmonic, percussive = separate(room, length=len(samples), tail=tail)
    before: list[NDArray[Any]] = [chroma(room.magnitude).T, rms(samples), *shape]
    before += [zero_crossing_rate(samples), harmonic, percussive]
    mfcc = scipy.fft.dct(mel_db.T, axis=0, type=2, norm="ortho")[:_N_MFCC]
    values = [*_summary(before), tempo(mel_db), *_summary(mfcc)]
    return np.array(values, dtype=np.float64), mel


def from_row(row: Mapping[str, object], *, track: str | None = None) -> NDArray[np.float64]:
    """A row of the table, or a JSON object, as float64 (57,) in the order of FEATURE_COLUMNS.

    Other columns are ignored. Numbers may be text, as in a CSV file. Raises FeatureError with the columns' names:
    "missing_columns", "not_numeric", "not_finite".
    """
    missing = [name for name in FEATURE_COLUMNS if name not in row]
    if missing:
        raise _refuse("missing_columns", "columns are missing", missing, track)
    values = {name: _number(row[name]) for name in FEATURE_COLUMNS}
    wrong = [f"{name} ({str(row[name])[:20]!r})" for name, value in values.items() if value is None]
    if wrong:
        raise _refuse("not_numeric", "values are not numbers", wrong, track)
    wild = [f"{name} ({value})" for name, value in values.items() if value is not None and not math.isfinite(value)]
    if wild:
        raise _refuse("not_finite", "values are not finite", wild, track)
    return np.array(list(values.values()), dtype=np.float64)


def _summary(series: Iterable[NDArray[Any]]) -> Iterator[float]:
    """Mean and variance of each, in the order of the columns."""
    for values in series:
        yield float(np.mean(values))
        yield float(np.var(values))


def _power_to_db(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """`librosa.power_to_db(mel)`, limited to 80 dB below the maximum."""
    decibels: NDArray[np.float32] = np.maximum(mel, np.float32(_AMIN))
    np.log10(decibels, out=decibels)
    decibels *= np.float32(10.0)
    np.maximum(decibels, decibels.max() - np.float32(_TOP_DB), out=decibels)
    return decibels


def _number(value: object) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # what float() refuses is caught below
    except (TypeError, ValueError, OverflowError):
        return None


def _refuse(kind: str, message: str, columns: list[str], track: str | None) -> FeatureError:
    shown = ", ".join(columns[:_SHOWN_COLUMNS])
    more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
    return FeatureError(
        f"{track}: {message}" if track else f"feature row: {message}",
        kind=kind,
        track=track,
        found=shown + more,
        expected=f"all {len(FEATURE_COLUMNS)} feature columns, each a finite number",
        remedy="give the row as in GTZAN's features_30_sec.csv, or the audio instead",
    )
