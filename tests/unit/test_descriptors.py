"""Descriptors against closed forms, and as part of the preprocessor."""

from itertools import pairwise

import numpy as np
import pytest

from genre_ray import descriptors
from genre_ray.config import InputConfig, RunConfig, parse
from genre_ray.descriptors import GROUPS, N_DESCRIPTORS, describe_pictures, group_widths
from genre_ray.errors import ConfigError
from genre_ray.preprocessing import Preprocessor
from genre_ray.schema import Clip


def group(found, name):
    names = list(GROUPS)
    start = sum(GROUPS[earlier] for earlier in names[: names.index(name)])
    return found[:, start : start + GROUPS[name]]


def noise(n=3, columns=334, seed=0):
    return np.random.default_rng(seed).integers(60, 200, (n, 1, 128, columns), dtype=np.uint8)


def test_each_clip_gives_839_finite_numbers_on_its_own():
    pictures = noise(5)
    found = describe_pictures(pictures)
    assert found.shape == (5, N_DESCRIPTORS) == (5, 839)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(describe_pictures(pictures[3:4])[0], found[3])


def test_silence_and_full_scale_are_finite():
    assert np.isfinite(describe_pictures(np.zeros((1, 1, 128, 334), np.uint8))).all()
    assert np.isfinite(describe_pictures(np.full((1, 1, 128, 334), 255, np.uint8))).all()


def test_the_first_cepstrum_of_a_flat_picture_is_its_level():
    found = describe_pictures(np.full((1, 1, 128, 334), 51, np.uint8))  # 51 levels are 16 dB
    timbre = group(found, "timbre")[0]
    assert timbre[0] == pytest.approx(16.0 * np.sqrt(128), rel=1e-5)
    np.testing.assert_allclose(timbre[1:], 0, atol=1e-3)


def test_cepstra_are_scipys_cosine_transform():
    from scipy.fft import dct

    picture = noise(1)
    expected = dct(picture[0, 0] * (80 / 255), axis=0, norm="ortho")[:30]
    np.testing.assert_allclose(group(describe_pictures(picture), "timbre")[0, :30], expected.mean(axis=1), atol=1e-3)


def test_the_rhythm_shape_is_the_matrix_logarithm_of_the_covariance():
    from scipy.linalg import logm

    picture = noise(1)
    bands = picture[0, 0].astype(float).reshape(16, 8, 334).mean(axis=1) * (80 / 255)
    changes = np.diff(bands, axis=1)
    expected = logm(changes @ changes.T / changes.shape[1]).real
    found = group(describe_pictures(picture), "rhythm_shape")[0]
    i, j = np.triu_indices(16)
    np.testing.assert_allclose(found, expected[i, j] * np.where(i == j, 1, np.sqrt(2)), atol=1e-3)


def test_echoes_find_the_lag_at_which_a_pattern_repeats():
    beat = np.where(np.arange(334) % 6 < 2, 200, 100).astype(np.uint8)
    found = group(describe_pictures(np.broadcast_to(beat, (1, 1, 128, 334))), "echoes")[0].reshape(3, 8, 8)
    assert found[2].min() > 0.95  # 6 columns later: the same
    assert found[1].max() < -0.4  # 3 columns later: the off-beat


@pytest.mark.parametrize(("period", "expected"), [(24, 2), (12, 3), (6, 4), (4, 5)])
def test_modulation_peaks_at_the_rate_of_the_pulse(period, expected):
    wave = 128 + 60 * np.sin(2 * np.pi * np.arange(334) / period)
    picture = np.broadcast_to(wave.astype(np.uint8), (1, 1, 128, 334))
    modulation = group(describe_pictures(picture), "modulation")[0].reshape(10, 7)
    # bins over time: 0, 1, 2-3, 4-6, 7-10, 11-16, 17-23 cycles in 48 columns
    assert modulation[0].argmax() == expected


def test_modulation_is_the_mean_log_power_of_the_two_dimensional_spectra_of_patches():
    picture = noise(1)[0, 0]
    decibels = picture * (80 / 255)
    window = np.outer(np.hanning(128), np.hanning(48))
    total = np.zeros((65, 48))
    starts = range(0, 334 - 48 + 1, 24)
    for start in starts:
        patch = decibels[:, start : start + 48]
        total += np.log1p(np.abs(np.fft.fft2((patch - patch.mean()) * window)[:65]) ** 2)
    folded = (total[:, :24] + total[:, -np.arange(24) % 48]) / (2 * len(starts))
    ripples, beats = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 65), (0, 1, 2, 4, 7, 11, 17, 24)
    expected = [[folded[a:b, c:d].mean() for c, d in pairwise(beats)] for a, b in pairwise(ripples)]
    np.testing.assert_allclose(
        group(describe_pictures(picture[None, None]), "modulation")[0], np.ravel(expected), atol=2e-4
    )


def test_group_widths_name_the_group_of_each_column():
    assert len(group_widths()) == N_DESCRIPTORS
    assert (1 / group_widths()).sum() == pytest.approx(len(GROUPS))


def test_a_corpus_is_described_once(monkeypatch):
    pictures = noise(100, columns=64, seed=3)
    expected = describe_pictures(pictures)
    monkeypatch.setattr(descriptors, "_describe", lambda levels: pytest.fail("described again"))
    np.testing.assert_array_equal(describe_pictures(pictures.copy()), expected)
    pictures[99, 0, 5, 5] ^= 1
    with pytest.raises(pytest.fail.Exception, match="described again"):
        describe_pictures(pictures)


def test_the_preprocessor_puts_scaled_descriptors_beside_scaled_features(labels):
    table = _table(noise(12), labels)
    preprocessor = Preprocessor(InputConfig(descriptors=True), labels).fit(table)
    vectors = preprocessor.vectors(table.spectrogram, table.features)
    assert vectors.shape == (12, 57 + 839)
    np.testing.assert_array_equal(vectors[:, :57], preprocessor.scale_features(table.features))
    scaled = vectors[:, 57:] / np.sqrt(57 / group_widths())
    assert np.abs(scaled).max() <= 3.0 + 1e-5
    assert np.abs(scaled.mean(axis=0)).max() < 0.2
    clip = Clip(track="x", spectrogram=table.spectrogram[4], features=table.features[4])
    np.testing.assert_allclose(preprocessor.sample(clip).features, vectors[4], atol=1e-4)


def test_descriptors_survive_json_and_may_stand_alone(labels):
    table = _table(noise(12), labels)
    inputs = InputConfig(features=None, descriptors=True)
    preprocessor = Preprocessor(inputs, labels).fit(table)
    restored = Preprocessor.from_json(inputs, labels, preprocessor.to_json())
    vectors = restored.vectors(table.spectrogram, None)
    assert vectors.shape == (12, 839)
    np.testing.assert_array_equal(vectors, preprocessor.vectors(table.spectrogram, None))


def _table(pictures, labels):
    from genre_ray.clips import ClipTable

    n = len(pictures)
    return ClipTable(
        track=np.array([f"t{i}" for i in range(n)]),
        label=np.array(labels)[np.arange(n) % 3],
        index=np.zeros(n, np.int32),
        start_s=np.zeros(n),
        spectrogram=pictures,
        features=np.random.default_rng(1).standard_normal((n, 57)),
    )


@pytest.mark.parametrize("spectrogram", [None, {"form": "figure"}])
def test_descriptors_without_a_plot_are_refused(spectrogram):
    with pytest.raises(ConfigError, match="descriptors need"):
        parse(InputConfig, {"spectrogram": spectrogram, "descriptors": True}, origin="test")


def test_a_model_of_vectors_needs_features_or_descriptors():
    with pytest.raises(ConfigError, match=r"needs inputs\.features or inputs\.descriptors"):
        parse(RunConfig, {"inputs": {"features": None}, "model": {"kind": "mlp"}}, origin="test")
    parse(RunConfig, {"inputs": {"features": None, "descriptors": True}, "model": {"kind": "mlp"}}, origin="test")
