"""Textures against closed forms."""

import numpy as np
import pytest
from scipy.linalg import logm

from genre_ray import textures


def noise(rows, columns=334, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def test_log_covariance_is_the_matrix_logarithm_of_the_second_moments():
    signals = noise(6)
    expected = logm(signals @ signals.T / signals.shape[1]).real
    i, j = np.triu_indices(6)
    found = textures.log_covariance(signals[None])[0]
    np.testing.assert_allclose(found, expected[i, j] * np.where(i == j, 1, np.sqrt(2)), atol=1e-4)


def test_a_constant_has_the_floor_and_no_more():
    found = textures.log_covariance(np.zeros((1, 4, 20), np.float32), floor=1e-2)[0]
    i, j = np.triu_indices(4)
    np.testing.assert_allclose(found, np.where(i == j, np.log(1e-2), 0), atol=1e-5)


def test_cosines_are_scipys_transform():
    from scipy.fft import dct

    picture = noise(128, 7)
    np.testing.assert_allclose(textures.cosines(128) @ picture, dct(picture, axis=0, norm="ortho"), atol=1e-4)


def test_the_contrast_of_a_flat_picture_is_nothing_and_of_a_comb_its_height():
    flat = np.full((128, 60), 30.0, np.float32)
    np.testing.assert_allclose(textures.contrast(flat[None]), 0, atol=1e-5)
    comb = flat.copy()
    comb[::4] += 20  # four peaks in each band of 16 bins
    span, spread, peak = textures.contrast(comb[None]).reshape(3, 8)
    np.testing.assert_allclose(span, 20, atol=1e-4)
    np.testing.assert_allclose(spread, 0, atol=1e-4)
    np.testing.assert_allclose(peak, 20, atol=1e-4)


def test_levels_are_the_quantiles_over_time():
    picture = noise(128, 101, seed=1)
    bands = picture.reshape(32, 4, 101).mean(axis=1)
    expected = np.percentile(bands, [5, 25, 50, 75, 95], axis=1)
    np.testing.assert_allclose(textures.levels(picture[None]).reshape(5, 32), expected, atol=1e-4)


def test_the_form_of_symmetric_cepstra_has_no_skewness():
    wave = np.tile(np.sin(2 * np.pi * np.arange(100) / 20).astype(np.float32), (30, 1))
    skewness, steps = textures.cepstral_form(textures.statistics(wave[None])).reshape(2, 30)
    np.testing.assert_allclose(skewness, 0, atol=1e-3)
    assert (steps > 0).all()
    assert textures.cepstral_form(textures.statistics((wave**3 + wave**2)[None]))[0, :30].min() > 0.1


def test_what_changes_within_a_bar_is_not_slow():
    fast = np.tile(np.where(np.arange(320) % 2 == 0, 1.0, -1.0).astype(np.float32), (30, 1))
    slow = np.tile(np.where(np.arange(320) // 32 % 2 == 0, 1.0, -1.0).astype(np.float32), (30, 1))
    assert textures.slow_shape(fast[None]).max() == 0  # the floor alone
    assert textures.slow_shape(slow[None]).max() > 0.5


def test_the_course_tells_which_sound_follows_which():
    both = np.stack([np.zeros((30, 300), np.float32), noise(30, 300)])
    both[0, 0] = np.sin(2 * np.pi * np.arange(300) / 12)
    found, other = textures.cepstral_course(both, textures.statistics(both))
    assert found.shape == other.shape == (465,)
    assert np.abs(found - other).max() > 1


@pytest.mark.parametrize("columns", [48, 100, 334])
def test_every_texture_has_its_width_for_any_clip(columns):
    decibels = noise(256, columns).reshape(2, 128, columns) * 5 + 40
    cepstra = textures.cosines(128) @ decibels
    of_cepstra = textures.statistics(cepstra)
    onsets = np.maximum(np.diff(decibels.reshape(2, 16, 8, columns).mean(axis=2)), 0)
    found = [
        (textures.cepstral_covariance(cepstra, of_cepstra), 210),
        (textures.contrast(decibels), 24),
        (textures.slow_shape(cepstra), 136),
        (textures.fine_ripples(of_cepstra), 196),
        (textures.onset_modulation(onsets), 128),
        (textures.onset_shape(onsets), 136),
        (textures.cepstral_form(of_cepstra), 60),
        (textures.cepstral_course(cepstra, of_cepstra), 465),
        (textures.levels(decibels), 160),
    ]
    for vector, width in found:
        assert vector.shape == (2, width)
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()


@pytest.mark.parametrize(("period", "expected"), [(64, 1), (32, 2), (16, 4), (8, 5), (5, 6)])
def test_onsets_at_a_tempo_raise_its_bin(period, expected):
    onsets = np.tile((np.sin(2 * np.pi * np.arange(333) / period) > 0).astype(np.float32), (16, 1))
    found = textures.onset_modulation(onsets[None]).reshape(16, 8)
    # bins of 128 columns: 1, 2, 3-4, 5-7, 8-11, 12-19, 20-31, 32-63 cycles
    bins = [1, 2, 3, 5, 8, 12, 20, 32, 64]
    assert bins[found[0].argmax()] <= 128 / period < bins[found[0].argmax() + 1] + 1
    assert found[0].argmax() == expected


def test_statistics_of_rows_over_time():
    from scipy.stats import skew

    signals = (noise(6, 334) ** 2 + 3).reshape(2, 3, 334)
    found = textures.statistics(signals)
    np.testing.assert_allclose(found.mean, signals.mean(axis=2), rtol=1e-5)
    np.testing.assert_allclose(found.deviation, signals.std(axis=2), rtol=1e-5)
    np.testing.assert_allclose(found.skewness, skew(signals, axis=2), rtol=2e-3)  # 1e-3 below it keeps silence finite
    steps = np.diff(signals)
    np.testing.assert_allclose(found.step, np.abs(steps).mean(axis=2), rtol=1e-5)
    np.testing.assert_allclose(found.step_deviation, steps.std(axis=2), rtol=1e-4)


def test_the_contrast_ranks_the_bins_of_each_band():
    decibels = noise(128, 50).reshape(1, 128, 50)
    ranked = np.sort(decibels.reshape(8, 16, 50), axis=1)
    span = ranked[:, -4:].mean(axis=1) - ranked[:, :4].mean(axis=1)
    expected = [span.mean(axis=1), span.std(axis=1), (ranked[:, 15] - ranked[:, 8]).mean(axis=1)]
    np.testing.assert_allclose(textures.contrast(decibels).reshape(3, 8), expected, rtol=1e-4)
