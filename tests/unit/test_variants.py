"""Variants of spectrograms: always the same ones, and each change by itself against an obvious version."""

import numpy as np
import pytest

from genre_ray import variants as module
from genre_ray.config import InputConfig, RunConfig, VariantConfig, parse
from genre_ray.descriptors import describe_pictures
from genre_ray.errors import ConfigError
from genre_ray.preprocessing import Preprocessor
from genre_ray.variants import describe_variants, smooth_curves, variants

STILL = VariantConfig(count=3, columns=None, equaliser_db=0.0, shift_bins=0)


def picture(seed=0, columns=334):
    return np.random.default_rng(seed).integers(60, 200, (1, 128, columns), dtype=np.uint8)


def test_a_clip_has_the_same_variants_whenever_it_is_asked():
    first, again = variants(picture(), VariantConfig()), variants(picture().copy(), VariantConfig())
    assert len(first) == 4
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], variants(picture(1), VariantConfig())[0])


def test_without_any_change_a_variant_is_the_clip():
    for variant in variants(picture(), STILL):
        np.testing.assert_array_equal(variant, picture())


def test_a_window_is_a_part_of_the_clip():
    whole = picture()
    for variant in variants(whole, STILL.model_copy(update={"columns": 100})):
        assert variant.shape == (1, 128, 100)
        starts = [s for s in range(235) if np.array_equal(whole[:, :, s : s + 100], variant)]
        assert len(starts) == 1


def test_a_shift_moves_the_bins_and_repeats_the_edge():
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (1, 128, 60)).copy()
    shifts = set()
    for variant in variants(ramp, STILL.model_copy(update={"count": 32, "shift_bins": 3})):
        moved = 64 - int(variant[0, 64, 0])
        shifts.add(moved)
        np.testing.assert_array_equal(variant[0, :, 0], np.clip(np.arange(128) - moved, 0, 127))
    assert shifts == {-3, -2, -1, 0, 1, 2, 3}


def test_an_equaliser_adds_one_smooth_curve_to_every_column():
    flat = np.full((1, 128, 60), 128, np.uint8)
    for variant in variants(flat, STILL.model_copy(update={"equaliser_db": 3.0})):
        assert (variant == variant[:, :, :1]).all()
        curve = variant[0, :, 0].astype(int) - 128
        assert np.abs(curve).max() > 1
        assert np.abs(np.diff(curve)).max() <= 3


def test_curves_have_the_deviation_that_is_asked_for():
    curves = smooth_curves(20_000, 128, 2.0, np.random.default_rng(0))
    assert curves[:, 0].std() == pytest.approx(2.0, rel=0.03)
    assert curves[:, -1].std() == pytest.approx(2.0, rel=0.03)


def test_descriptors_of_variants_are_computed_once(monkeypatch):
    pictures = np.stack([picture(7, 64), picture(8, 64)])
    config = VariantConfig(count=2, columns=48)
    found = describe_variants(pictures, config)
    expected = describe_pictures(np.stack(variants(pictures[1], config)))
    np.testing.assert_array_equal(found[1], expected)
    monkeypatch.setattr(module, "describe_pictures", lambda pictures: pytest.fail("described again"))
    np.testing.assert_array_equal(describe_variants(pictures, config), found)
    with pytest.raises(pytest.fail.Exception, match="described again"):
        describe_variants(pictures, VariantConfig(count=2, columns=50))


def test_beside_other_descriptors_stand_the_clips_own_features(labels):
    from genre_ray.clips import ClipTable

    table = ClipTable(
        track=np.array(["a", "b", "c"]),
        label=np.array(labels[:3]),
        index=np.zeros(3, np.int32),
        start_s=np.zeros(3),
        spectrogram=np.stack([picture(i, 64) for i in range(3)]),
        features=np.random.default_rng(0).normal(size=(3, 57)),
    )
    preprocessor = Preprocessor(InputConfig(descriptors=True), labels).fit(table)
    found = preprocessor.variant_vectors(table.spectrogram, table.features, VariantConfig(count=2, columns=48))
    own = preprocessor.vectors(table.spectrogram, table.features)
    assert found.shape == (3, 2, own.shape[1])
    np.testing.assert_array_equal(found[:, 1, :57], own[:, :57])
    assert not np.array_equal(found[:, 1, 57:], own[:, 57:])


def test_variants_without_descriptors_are_refused():
    run = {"training": {"augment": {"variants": {"count": 2}}}}
    with pytest.raises(ConfigError, match=r"need inputs\.descriptors"):
        parse(RunConfig, run, origin="test")
