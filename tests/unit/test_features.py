"""The 57 features are librosa's, function by function, and GTZAN's table."""

import csv
import importlib.util
import math
import os
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from genre_ray import preprocessing
from genre_ray.analysis import analyse
from genre_ray.audio import SAMPLE_RATE, load
from genre_ray.config import InputConfig
from genre_ray.errors import AudioError, FeatureError
from genre_ray.features import extract, from_row
from genre_ray.schema import FEATURE_COLUMNS, Track
from genre_ray.spectrogram import from_audio

DATA = os.environ.get("GENRE_RAY_DATA")
real = pytest.mark.skipif(DATA is None, reason="GENRE_RAY_DATA does not name GTZAN with its audio")


def naive_features(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """librosa's functions one by one, as the benchmark calls them."""
    spec = importlib.util.spec_from_file_location("features", Path(__file__).parents[2] / "benchmarks" / "features.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    features: NDArray[np.float64] = benchmark.naive_features(samples)
    return features


def noise(seconds: float = 3.0, seed: int = 1) -> NDArray[np.float32]:
    """Noise in bursts, so that there is a rhythm, over a chord, so that there is a key."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    bursts = np.random.default_rng(seed).standard_normal(len(time)) * np.exp(-8 * (time % 0.5))
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    return (0.1 * bursts + 0.1 * chord).astype(np.float32)


def assert_same(found: NDArray[np.float64], expected: NDArray[np.float64], *, rtol: float = 1e-5) -> None:
    for name, value, wanted in zip(FEATURE_COLUMNS, found, expected, strict=True):
        assert value == pytest.approx(wanted, rel=rtol, abs=0.0), name


@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.003])
def test_features_are_librosas_called_one_by_one(seconds: float) -> None:
    samples = noise(seconds)
    assert_same(extract(samples), naive_features(samples))


@real
@pytest.mark.parametrize("name", ["classical.00000", "country.00002"])
def test_features_of_real_tracks_are_librosas(name: str) -> None:
    samples = load(Path(DATA or "", "genres_original", name.split(".")[0], f"{name}.wav"))[: 8 * SAMPLE_RATE]
    assert_same(extract(samples), naive_features(samples))


def test_harmonic_and_percussive_features_are_librosas_to_the_bit() -> None:
    samples = noise(2.0)
    values = dict(zip(FEATURE_COLUMNS, extract(samples), strict=True))
    for name, effect in (("harmony", librosa.effects.harmonic), ("perceptr", librosa.effects.percussive)):
        signal = effect(samples, pad_mode="reflect")
        assert (values[f"{name}_mean"], values[f"{name}_var"]) == (float(signal.mean()), float(signal.var()))


@cache
def table() -> dict[str, NDArray[np.float64]]:
    with Path(DATA or "", "features_30_sec.csv").open(newline="", encoding="utf-8") as file:
        return {row["filename"].removesuffix(".wav"): from_row(row) for row in csv.DictReader(file)}


def deviations(path: Path, **options: str) -> NDArray[np.float64]:
    """Distance from the table in standard deviations of each column."""
    spread = np.std(np.array(list(table().values())), axis=0, ddof=1)
    deviation: NDArray[np.float64] = np.abs(extract(load(path), **options) - table()[path.stem]) / spread  # type: ignore[arg-type]
    return deviation


@real
def test_a_track_has_the_features_of_the_table() -> None:
    path = Path(DATA or "", "genres_original", "jazz", "jazz.00007.wav")
    assert deviations(path).max() < 0.02
    assert deviations(path, tail="dropped").max() < 1e-5
    (clip,) = preprocessing.extract(Track(id="jazz.00007", audio=path), InputConfig())
    np.testing.assert_array_equal(clip.features, extract(load(path), tail="dropped"))  # what models are given


@real
@pytest.mark.slow
def test_every_track_has_the_features_of_the_table() -> None:
    tracks = sorted(Path(DATA or "", "genres_original").rglob("*.wav"))
    assert len(tracks) >= 50
    kept, dropped = np.zeros(57), np.zeros(57)
    for path in tracks:
        kept, dropped = np.maximum(kept, deviations(path)), np.maximum(dropped, deviations(path, tail="dropped"))
    assert dropped.max() < 1e-4
    assert kept.max() < 0.025  # the means of harmony and perceptr; librosa 0.7 left out the last n % 512 samples
    assert np.sort(kept)[-5] < 1e-4


def test_a_clip_is_analysed_in_one_pass_as_by_its_parts() -> None:
    samples = noise(2.0)
    for form in ("plot", "frames"):
        levels, features = analyse(samples, form=form)  # type: ignore[arg-type]
        np.testing.assert_array_equal(levels, from_audio(samples, form=form))  # type: ignore[arg-type]
        np.testing.assert_array_equal(features, extract(samples))


def feature(samples: NDArray[np.float64], name: str) -> float:
    return float(extract(samples.astype(np.float32))[FEATURE_COLUMNS.index(name)])


def test_the_centroid_of_a_tone_is_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1500 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    assert feature(tone, "spectral_centroid_mean") == pytest.approx(1500, rel=0.03)
    assert feature(tone, "rolloff_mean") == pytest.approx(1500, rel=0.03)
    assert feature(tone, "zero_crossing_rate_mean") == pytest.approx(2 * 1500 / SAMPLE_RATE, rel=0.05)
    assert feature(tone, "rms_mean") == pytest.approx(math.sqrt(0.5), rel=0.01)


def test_clicks_at_120_a_minute_have_that_tempo() -> None:
    clicks = np.zeros(12 * SAMPLE_RATE)
    for start in range(0, len(clicks), SAMPLE_RATE // 2):
        clicks[start : start + 200] = np.random.default_rng(0).standard_normal(200)
    assert feature(clicks, "tempo") == pytest.approx(120, rel=0.04)


def test_silence_with_one_click_has_finite_features() -> None:
    samples = np.zeros(3 * SAMPLE_RATE, np.float32)
    samples[SAMPLE_RATE : SAMPLE_RATE + 50] = 0.5
    found = extract(samples)
    assert np.isfinite(found).all()
    assert_same(found, naive_features(samples))


def test_a_constant_has_no_tempo_and_is_all_harmony() -> None:
    values = dict(zip(FEATURE_COLUMNS, extract(np.full(SAMPLE_RATE, 0.25, np.float32)), strict=True))
    assert np.isfinite(list(values.values())).all()
    assert values["zero_crossing_rate_mean"] == 0.0
    assert values["rms_mean"] == pytest.approx(0.25)


@pytest.mark.parametrize(("samples", "kind"), [(noise()[:2000], "too_short"), (noise() * np.inf, "not_finite")])
def test_samples_that_cannot_be_analysed_are_refused(samples: NDArray[np.float32], kind: str) -> None:
    with pytest.raises(AudioError, match="found: ") as caught:
        extract(samples)
    assert caught.value.kind == kind


ROW: dict[str, object] = {"filename": "a.wav", "length": "661794"} | {
    name: str(place) for place, name in enumerate(FEATURE_COLUMNS)
}


def test_a_row_of_text_becomes_numbers_in_the_order_of_the_columns() -> None:
    shuffled = dict(sorted(ROW.items(), key=lambda item: hash(item[0])))
    found = from_row(shuffled)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.arange(57))


@pytest.mark.parametrize(
    ("change", "kind", "found"),
    [
        ({"tempo": "fast"}, "not_numeric", r"tempo \('fast'\)"),
        ({"tempo": None}, "not_numeric", r"tempo \('None'\)"),
        ({"tempo": True}, "not_numeric", r"tempo \('True'\)"),
        ({"tempo": [1.0]}, "not_numeric", r"tempo \('\[1\.0\]'\)"),
        ({"tempo": ""}, "not_numeric", "tempo"),
        ({"mfcc1_mean": "nan"}, "not_finite", r"mfcc1_mean \(nan\)"),
        ({"mfcc1_mean": -math.inf, "rms_var": math.nan}, "not_finite", r"rms_var \(nan\), mfcc1_mean \(-inf\)"),
    ],
)
def test_a_row_with_wrong_values_names_their_columns(change: dict[str, object], kind: str, found: str) -> None:
    with pytest.raises(FeatureError, match=f"pop.00001: .*found: {found}") as caught:
        from_row(ROW | change, track="pop.00001")
    assert caught.value.kind == kind


def test_missing_columns_are_named_up_to_eight() -> None:
    with pytest.raises(FeatureError, match=r"found: chroma_stft_mean, chroma_stft_var, .* and 49 more"):
        from_row({})
    incomplete = {name: value for name, value in ROW.items() if name != "tempo"}
    with pytest.raises(FeatureError, match="found: tempo;") as caught:
        from_row(incomplete)
    assert caught.value.kind == "missing_columns"
