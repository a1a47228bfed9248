"""Augmentation of whole batches on tensors: crops, tempo, pitch, equaliser, mixup, masks, noise.

Knows nothing about models.

All random choices of an epoch are drawn at once on the host and sent to the device once, so that a step costs a few
kernels, no loop over samples and no wait; and so that CPU, GPU and all data-parallel workers see the same choices.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.config import AugmentConfig
from genre_ray.variants import smooth_curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The random choices for N samples in the order in which they are visited; None where a technique is off."""

    crop_start: Tensor | None = None
    """int64 (N,): first column of the crop."""

    columns: Tensor | None = None
    """int64 (N, W): the column that each column of a stretched crop is taken from; then `crop_start` is None."""

    shift: Tensor | None = None
    """int64 (N,): mel bins by which the picture is moved up."""

    curve: Tensor | None = None
    """float32 (N, H): dB added to each mel bin."""

    mix: Tensor | None = None
    """float32 (N,) in [0.5, 1]: how much of the sample itself is left by mixup."""

    time_masks: Tensor | None = None
    """int64 (N, masks, 2): first column and the one after the last."""

    frequency_masks: Tensor | None = None
    """int64 (N, masks, 2): first row and the one after the last."""

    noise: Tensor | None = None
    """float32 (N, F): added to the scaled features."""

    variant: Tensor | None = None
    """int64 (N,): 0 for the clip's own descriptors, k for those of its k-th variant."""

    @classmethod
    def draw(
        cls,
        n: int,
        config: AugmentConfig,
        generator: np.random.Generator,
        *,
        picture_shape: tuple[int, int, int] | None,
        n_features: int | None,
    ) -> Self:
        """The choices for `n` samples; `picture_shape` is (C, H, W) before cropping."""
        crop = window = shift = curve = mix = time = frequency = noise = None
        if picture_shape is not None:
            _, rows, columns = picture_shape
            width = config.crop_columns or columns
            if config.stretch > 0:
                window = _stretched(n, width, columns, config.stretch, generator)
            elif width < columns:
                crop = torch.from_numpy(generator.integers(0, columns - width + 1, n))
            time = _masks(n, config.time_masks, config.time_mask_columns, width, generator)
            frequency = _masks(n, config.frequency_masks, config.frequency_mask_bins, rows, generator)
            if config.shift_bins > 0:
                shift = torch.from_numpy(generator.integers(-config.shift_bins, config.shift_bins + 1, n))
            if config.equaliser_db > 0:
                curve = torch.from_numpy(smooth_curves(n, rows, config.equaliser_db, generator))
        if config.mixup > 0:
            share = generator.beta(config.mixup, config.mixup, n).astype(np.float32)
            mix = torch.from_numpy(np.maximum(share, 1 - share))
        if n_features is not None and config.feature_noise > 0:
            noise = torch.from_numpy(generator.standard_normal((n, n_features), np.float32)) * config.feature_noise
        variant = None
        if n_features is not None and config.variants is not None:
            variant = torch.from_numpy(generator.integers(0, config.variants.count + 1, n))
        return cls(
            variant=variant,
            crop_start=crop,
            columns=window,
            shift=shift,
            curve=curve,
            mix=mix,
            time_masks=time,
            frequency_masks=frequency,
            noise=noise,
        )

    def to(self, device: torch.device) -> "Choices":
        """The same choices on `device`."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> "Choices":
        """The choices for the samples `start` to `stop`."""
        return self._each(lambda part: part[start:stop])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Choices":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Choices(**{name: None if part is None else change(part) for name, part in parts.items()})


def _masks(n: int, masks: int, largest: int, extent: int, generator: np.random.Generator) -> Tensor | None:
    """Widths even over 0..largest, positions even over what is left (Park et al. 2019), as (N, masks, 2) bounds."""
    if masks == 0:
        return None
    width: NDArray[np.int64] = generator.integers(0, min(largest, extent) + 1, (n, masks))
    start = np.floor(generator.random((n, masks)) * (extent - width + 1)).astype(np.int64)
    return torch.from_numpy(np.stack([start, start + width], axis=-1))


def _stretched(n: int, width: int, columns: int, most: float, generator: np.random.Generator) -> Tensor:
    """(N, width): for each column of a crop the column it is taken from, nearest, at a tempo even over 1 +- `most`.

    No tempo is faster than the clip is long: a crop then takes in all of it.
    """
    tempo = np.minimum(1 + generator.uniform(-most, most, n), columns / width)
    start = generator.random(n) * (columns - tempo * width)
    found = np.floor(start[:, None] + (np.arange(width) + 0.5) * tempo[:, None]).astype(np.int64)
    return torch.from_numpy(np.clip(found, 0, columns - 1))


def resample(pictures: Tensor, rows: Tensor, columns: Tensor | None, shift: Tensor | None) -> Tensor:
    """The pictures at `rows` (B,) with their `columns` (B, W) and moved up by `shift` (B,) bins: (B, C, H, W).

    Beyond the edge of the mel axis the outermost bin is repeated.
    """
    channels, height, width = pictures.shape[1:]
    place = torch.arange(height, device=pictures.device)
    bins = place.expand(len(rows), -1) if shift is None else (place - shift[:, None]).clamp(0, height - 1)
    if columns is None:
        columns = torch.arange(width, device=pictures.device).expand(len(rows), -1)
    layer = torch.arange(channels, device=pictures.device)
    return pictures[rows[:, None, None, None], layer[:, None, None], bins[:, None, :, None], columns[:, None, None, :]]


def gather(pictures: Tensor, rows: Tensor, crop_start: Tensor | None, crop_columns: int | None) -> Tensor:
    """The pictures at `rows` (B,), each cut to its window in time: (B, C, H, W) from the table (N, C, H, columns)."""
    if crop_start is None or crop_columns is None:
        return pictures[rows]
    # A view of all windows costs nothing; one indexing kernel then copies the chosen ones.
    windows = pictures.unfold(3, crop_columns, 1)
    return windows[rows, :, :, crop_start]


def mixup(x: Tensor, mix: Tensor) -> Tensor:
    """Each sample mixed with its neighbour in the batch, which is random since the batch is (Zhang et al. 2018)."""
    share = mix.view(-1, *[1] * (x.dim() - 1))
    return torch.lerp(x.roll(1, 0), x, share)


def mask(spectrogram: Tensor, time_masks: Tensor | None, frequency_masks: Tensor | None) -> Tensor:
    """SpecAugment (Park et al. 2019) on normalised (B, C, H, W): masked cells become 0, the mean."""
    if time_masks is not None:
        spectrogram = spectrogram * _keep(time_masks, spectrogram.shape[3])[:, None, None, :]
    if frequency_masks is not None:
        spectrogram = spectrogram * _keep(frequency_masks, spectrogram.shape[2])[:, None, :, None]
    return spectrogram


def _keep(bounds: Tensor, extent: int) -> Tensor:
    place = torch.arange(extent, device=bounds.device)
    inside = (place >= bounds[..., :1]) & (place < bounds[..., 1:])
    return ~inside.any(dim=1)


def window_starts(columns: int, config: AugmentConfig) -> list[int]:
    """First columns of the even windows at test time; [0] when the clip is seen whole."""
    width = config.crop_columns or columns
    if width >= columns:
        return [0]
    starts = np.linspace(0, columns - width, config.test_crops).round().astype(int)
    # One window sits in the middle, not at the start.
    return [(columns - width) // 2] if config.test_crops == 1 else sorted(set(starts.tolist()))
