"""The 57 numeric columns of GTZAN's table, from audio or from a row. Knows nothing about files, scaling or models."""

import math
from collections.abc import Mapping

import librosa
import numpy as np
from numpy.typing import NDArray

from genre_ray.errors import FeatureError
from genre_ray.schema import FEATURE_COLUMNS, SAMPLE_RATE
from genre_ray.spectrum import HOP_LENGTH, N_FFT, PAD_MODE, mel_power, stft

_N_MFCC = 20
_SHOWN_COLUMNS = 8


def extract(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 57 features, float64 (57,), of mono samples at 22050 Hz, in the order of FEATURE_COLUMNS.

    Raises AudioError "too_short" or "not_finite".
    """
    return extract_from_stft(samples, stft(samples))


def extract_from_stft(samples: NDArray[np.float32], spectrum: NDArray[np.complex64]) -> NDArray[np.float64]:
    """`extract` where the spectrum (1025, T) of the samples is at hand."""
    magnitude = np.abs(spectrum)
    power = magnitude**2
    mel = mel_power(samples, stft_power=power)
    harmonic, percussive = librosa.decompose.hpss(spectrum)
    n = len(samples)
    series = [
        librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE),
        librosa.feature.rms(y=samples, frame_length=N_FFT, hop_length=HOP_LENGTH, pad_mode=PAD_MODE),
        librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.zero_crossing_rate(samples),
        librosa.istft(harmonic, length=n),
        librosa.istft(percussive, length=n),
    ]
    decibels = librosa.power_to_db(mel)
    onset = librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, aggregate=np.median)
    mfcc = librosa.feature.mfcc(S=decibels, n_mfcc=_N_MFCC)
    values: list[float] = []
    for part in series:
        values += [float(np.mean(part)), float(np.var(part))]
    values.append(float(np.squeeze(librosa.beat.beat_track(onset_envelope=onset, sr=SAMPLE_RATE)[0])))
    for part in mfcc:
        values += [float(np.mean(part)), float(np.var(part))]
    return np.array(values, dtype=np.float64)


def from_row(row: Mapping[str, object], *, track: str | None = None) -> NDArray[np.float64]:
    """A row of the table, or a JSON object, as float64 (57,) in the order of FEATURE_COLUMNS.

    Other columns are ignored. Numbers may be text, as in a CSV file. Raises FeatureError with the columns'
    names: "missing_columns", "not_numeric", "not_finite".
    """
    missing = [name for name in FEATURE_COLUMNS if name not in row]
    if missing:
        raise _refuse("missing_columns", "columns are missing", missing, track)
    values = [_number(row[name]) for name in FEATURE_COLUMNS]
    _check(values, row, track)
    return np.array(values, dtype=np.float64)


def _check(values: list[float | None], row: Mapping[str, object], track: str | None) -> None:
    named = list(zip(FEATURE_COLUMNS, values, strict=True))
    wrong = [f"{name} ({str(row[name])[:20]!r})" for name, value in named if value is None]
    if wrong:
        raise _refuse("not_numeric", "values are not numbers", wrong, track)
    wild = [f"{name} ({value})" for name, value in named if value is not None and not math.isfinite(value)]
    if wild:
        raise _refuse("not_finite", "values are not finite", wild, track)


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
