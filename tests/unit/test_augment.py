"""Augmentation: each technique against a slow, obvious version."""

import numpy as np
import torch

from genre_ray.augment import Choices, gather, mask, mixup, resample, window_starts
from genre_ray.config import AugmentConfig, VariantConfig

ALL = AugmentConfig(
    crop_columns=16,
    mixup=0.4,
    time_masks=2,
    time_mask_columns=5,
    frequency_masks=1,
    frequency_mask_bins=4,
    feature_noise=0.5,
)


def draw(n=200, config=ALL, seed=0):
    return Choices.draw(n, config, np.random.default_rng(seed), picture_shape=(1, 12, 40), n_features=57)


def test_a_crop_is_the_window_at_its_start():
    table = torch.arange(5 * 2 * 3 * 40).reshape(5, 2, 3, 40).to(torch.uint8)
    rows, starts = torch.tensor([4, 0, 4]), torch.tensor([0, 24, 7])
    cropped = gather(table, rows, starts, 16)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        assert torch.equal(cropped[i], table[row, :, :, start : start + 16])


def test_without_a_crop_the_whole_clip_is_taken():
    table = torch.arange(24, dtype=torch.uint8).reshape(2, 1, 3, 4)
    assert torch.equal(gather(table, torch.tensor([1, 0]), None, None), table.flip(0))


def test_crops_reach_both_ends():
    starts = draw(2000).crop_start
    assert starts.min() == 0
    assert starts.max() == 40 - 16


def test_mixup_keeps_at_least_half_of_the_sample():
    mix = draw().mix
    assert mix.min() >= 0.5
    x = torch.eye(4)
    mixed = mixup(x, torch.tensor([1.0, 0.75, 0.5, 0.75]))
    expected = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.75, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.25, 0.75]])
    assert torch.equal(mixed, expected)


def test_masks_zero_their_rows_and_columns_and_nothing_else():
    x = torch.ones(2, 1, 6, 10)
    time = torch.tensor([[[2, 4], [8, 10]], [[0, 0], [3, 3]]])
    frequency = torch.tensor([[[0, 1]], [[5, 6]]])
    masked = mask(x, time, frequency)
    expected = torch.ones(2, 1, 6, 10)
    expected[0, :, :, 2:4] = expected[0, :, :, 8:10] = 0
    expected[0, :, 0] = expected[1, :, 5] = 0
    assert torch.equal(masked, expected)


def test_masks_stay_inside_the_picture_and_within_their_largest_width():
    choices = draw(2000)
    for bounds, extent, largest in ((choices.time_masks, 16, 5), (choices.frequency_masks, 12, 4)):
        width = bounds[..., 1] - bounds[..., 0]
        assert bounds.min() >= 0
        assert bounds.max() <= extent
        assert width.min() == 0
        assert width.max() == largest


def test_noise_has_the_deviation_asked_for():
    assert abs(float(draw(2000).noise.std()) - 0.5) < 0.01


def test_the_same_generator_state_gives_the_same_choices():
    one, two, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert torch.equal(one.crop_start, two.crop_start)
    assert torch.equal(one.noise, two.noise)
    assert not torch.equal(one.crop_start, other.crop_start)


def test_techniques_that_are_off_draw_nothing():
    choices = draw(config=AugmentConfig())
    assert all(
        getattr(choices, name) is None for name in ("crop_start", "mix", "time_masks", "frequency_masks", "noise")
    )


def test_windows_at_test_time_are_even_and_cover_both_ends():
    assert window_starts(334, AugmentConfig(crop_columns=128, test_crops=3)) == [0, 103, 206]
    assert window_starts(334, AugmentConfig(crop_columns=128, test_crops=1)) == [103]
    assert window_starts(128, AugmentConfig(crop_columns=128, test_crops=5)) == [0]
    assert window_starts(334, AugmentConfig()) == [0]


def test_resampling_takes_each_column_and_bin_from_its_place():
    table = torch.arange(3 * 1 * 6 * 10).reshape(3, 1, 6, 10)
    rows, columns = torch.tensor([2, 0]), torch.tensor([[1, 3, 5], [9, 9, 0]])
    found = resample(table, rows, columns, torch.tensor([1, -2]))
    for i, (row, shift) in enumerate([(2, 1), (0, -2)]):
        for h in range(6):
            bin_ = min(max(h - shift, 0), 5)
            assert found[i, 0, h].tolist() == table[row, 0, bin_, columns[i]].tolist()


def test_a_shift_alone_keeps_the_columns():
    table = torch.arange(60).reshape(1, 1, 6, 10)
    found = resample(table, torch.tensor([0]), None, torch.tensor([2]))
    assert torch.equal(found[0, 0, 2:], table[0, 0, :4])
    assert torch.equal(found[0, 0, 0], table[0, 0, 0])


def test_stretched_crops_stay_inside_and_run_at_the_tempo_asked_for():
    config = AugmentConfig(crop_columns=16, stretch=0.25)
    choices = draw(3000, config)
    assert choices.crop_start is None
    assert choices.columns.shape == (3000, 16)
    assert choices.columns.min() == 0
    assert choices.columns.max() == 39
    assert (choices.columns.diff(dim=1) >= 0).all()
    tempo = (choices.columns[:, -1] - choices.columns[:, 0]).float() / 15
    assert tempo.min() > 0.65
    assert tempo.max() < 1.35
    assert abs(float(tempo.mean()) - 1) < 0.02


def test_a_stretch_of_the_whole_clip_never_leaves_it():
    columns = draw(500, AugmentConfig(stretch=0.3)).columns
    assert columns.shape == (500, 40)
    assert columns.min() >= 0
    assert columns.max() <= 39


def test_shifts_and_curves_have_the_range_asked_for():
    choices = draw(4000, AugmentConfig(shift_bins=3, equaliser_db=2.0))
    assert set(choices.shift.tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    assert choices.curve.shape == (4000, 12)
    assert abs(float(choices.curve[:, 0].std()) - 2) < 0.1


def test_a_variant_is_drawn_from_all_and_the_clip_itself():
    choices = draw(2000, AugmentConfig(variants=VariantConfig(count=3)))
    assert set(choices.variant.tolist()) == {0, 1, 2, 3}
    assert draw().variant is None
