"""One part of a corpus as tensors on a device, and the batches made of it there. Knows nothing about models.

Shapes: N clips of the part, B batch, C channels, H rows, W columns, F features, L labels.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.augment import Choices, gather, mask, mixup, resample
from genre_ray.batches import even_batches, shard_rows
from genre_ray.clips import ClipTable
from genre_ray.config import TrainingConfig, VariantConfig
from genre_ray.preprocessing import Preprocessor, normalise
from genre_ray.variants import LEVELS_PER_DB

ORDER, AUGMENT, DROPOUT = 1, 2, 3
"""Streams of random numbers."""

_GPU_SHARE = (
    0.5  # of the free GPU memory may go to the corpus; a larger one stays on the host and is sent batch by batch
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """What one step of training takes: `spectrogram` (B, C, H, W), `features` (B, F), soft `targets` (B, L)."""

    spectrogram: Tensor | None
    features: Tensor | None
    targets: Tensor

    def take(self, rows: Tensor) -> "TrainingBatch":
        """The samples at `rows`."""
        return TrainingBatch(
            spectrogram=None if self.spectrogram is None else self.spectrogram[rows],
            features=None if self.features is None else self.features[rows],
            targets=self.targets[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an epoch for one worker: its slice, the weight of each sample in it (fill-ups weigh 0), and how many
    samples all workers take together.
    """

    batch: TrainingBatch
    weights: Tensor
    samples: int


class Part(Protocol):
    """One part of a corpus as a fit sees it: its shapes, the steps of an epoch, and its clips in their order."""

    def __len__(self) -> int:
        """Number of clips."""
        ...

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of a whole clip."""
        ...

    @property
    def n_features(self) -> int | None:
        """Width of a feature row."""
        ...

    @property
    def tracks(self) -> NDArray[np.str_]:
        """The track of each clip."""
        ...

    @property
    def targets(self) -> Tensor:
        """The label index of each clip, int64 (N,)."""
        ...

    def n_steps(self, batch_size: int, shard: tuple[int, int]) -> int:
        """Steps of an epoch, the same for all workers."""
        ...

    def steps(self, training: TrainingConfig, *, epoch: int, shard: tuple[int, int]) -> Iterator[Step]:
        """The augmented steps of one epoch for worker `shard` = (rank, size), decided by seed and epoch alone."""
        ...

    def batches(self, size: int) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Whole clips in order, normalised, without augmentation."""
        ...


def generator(training: TrainingConfig, stream: int, *parts: int) -> np.random.Generator:
    """Random numbers of one stream, of an epoch (and a worker), whatever ran before."""
    return np.random.default_rng([training.seed, stream, *parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePart:
    """N clips as tensors: `pictures` uint8 (N, C, H, W), `features` float32 (N, F) scaled, `targets` int64 (N,).

    Pictures stay 8 bit: only the crop of a batch becomes float32. `tracks` names the track of each clip.
    """

    device: torch.device
    tracks: NDArray[np.str_]
    pictures: Tensor | None
    features: Tensor | None
    targets: Tensor
    mean: Tensor | None
    scale: Tensor | None
    n_labels: int
    variants: Tensor | None = None
    """float32 (N, V, F) scaled, as `features`."""

    @classmethod
    def of(
        cls,
        table: ClipTable,
        preprocessor: Preprocessor,
        device: torch.device,
        *,
        pictures_too: bool,
        variants: VariantConfig | None = None,
    ) -> Self:
        """The clips of `table`, with the statistics of the fitted `preprocessor`. Nothing is copied on a CPU.

        Without `pictures_too` the pictures are left behind, for networks that look at features alone.
        """
        pictures = features = mean = scale = None
        if pictures_too and preprocessor.mean_ is not None and table.spectrogram is not None:
            assert preprocessor.scale_ is not None
            pictures = _place(as_tensor(table.spectrogram), device)
            mean, scale = as_tensor(preprocessor.mean_).to(device), as_tensor(preprocessor.scale_).to(device)
        vectors = preprocessor.vectors(table.spectrogram, table.features)
        if vectors is not None:
            features = as_tensor(vectors).to(device)
        targets = torch.from_numpy(preprocessor.targets(table)).to(device)
        return cls(
            device=device,
            tracks=table.track,
            pictures=pictures,
            features=features,
            targets=targets,
            mean=mean,
            scale=scale,
            n_labels=len(preprocessor.labels),
            variants=_variants(table, preprocessor, device, variants),
        )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.tracks)

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of a whole clip."""
        if self.pictures is None:
            return None
        _, channels, rows, columns = self.pictures.shape
        return channels, rows, columns

    @property
    def n_features(self) -> int | None:
        """Width of a feature row."""
        return None if self.features is None else self.features.shape[1]

    def n_steps(self, batch_size: int, shard: tuple[int, int]) -> int:
        """See Part."""
        return len(even_batches(len(self), batch_size))

    def steps(self, training: TrainingConfig, *, epoch: int, shard: tuple[int, int]) -> Iterator[Step]:
        """See Part; every worker makes the whole batch, augmented alike, and takes its slice of it."""
        order = torch.from_numpy(generator(training, ORDER, epoch).permutation(len(self))).to(self.device)
        choices = Choices.draw(
            len(self),
            training.augment,
            generator(training, AUGMENT, epoch),
            picture_shape=self.picture_shape,
            n_features=self.n_features,
        ).to(self.device)
        for start, stop in even_batches(len(self), training.batch_size):
            rows = order[start:stop]
            batch = self.training_batch(rows, choices.rows(start, stop), training)
            weights = torch.ones(len(rows), device=self.device)
            if shard[1] > 1:
                own, weights = shard_rows(len(rows), shard, self.device)
                batch = batch.take(own)
            yield Step(batch=batch, weights=weights, samples=len(rows))

    def training_batch(self, rows: Tensor, choices: Choices, training: TrainingConfig) -> TrainingBatch:
        """The clips at `rows` (B,), augmented: crop, noise, mixup over the whole batch, masks."""
        spectrogram = features = None
        if self.pictures is not None:
            spectrogram = self._normalised(self._cut(rows, choices, training.augment.crop_columns))
            if choices.curve is not None:
                assert self.scale is not None
                spectrogram = spectrogram + choices.curve[:, None, :, None] * (LEVELS_PER_DB * self.scale)
        if self.features is not None:
            features = self._chosen(rows, choices.variant)
            features = features if choices.noise is None else features + choices.noise
        targets = _soft(self.targets[rows], self.n_labels, training.label_smoothing)
        if choices.mix is not None:
            spectrogram = None if spectrogram is None else mixup(spectrogram, choices.mix)
            features = None if features is None else mixup(features, choices.mix)
            targets = mixup(targets, choices.mix)
        if spectrogram is not None:
            spectrogram = mask(spectrogram, choices.time_masks, choices.frequency_masks)
        return TrainingBatch(spectrogram=spectrogram, features=features, targets=targets)

    def batches(self, size: int) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Whole clips in order, normalised, without augmentation."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            spectrogram = None if self.pictures is None else self._normalised(self.pictures[rows])
            yield spectrogram, None if self.features is None else self.features[rows]

    def _chosen(self, rows: Tensor, variant: Tensor | None) -> Tensor:
        assert self.features is not None
        own = self.features[rows]
        if self.variants is None or variant is None:
            return own
        return torch.where((variant > 0)[:, None], self.variants[rows, (variant - 1).clamp_min(0)], own)

    def vectors(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """For an estimator: features of all clips, then of all variants (M, F), targets and tracks' numbers (M,)."""
        assert self.features is not None
        features, targets = self.features.cpu().numpy(), self.targets.cpu().numpy()
        groups = np.unique(self.tracks, return_inverse=True)[1].astype(np.int64)
        if self.variants is None:
            return features, targets, groups
        count = self.variants.shape[1]
        others = self.variants.cpu().numpy().transpose(1, 0, 2).reshape(-1, features.shape[1])
        return np.concatenate([features, others]), np.tile(targets, count + 1), np.tile(groups, count + 1)

    def _cut(self, rows: Tensor, choices: Choices, crop_columns: int | None) -> Tensor:
        """The pictures at `rows`, cut, stretched and shifted where they lie; a shift alone is made of the crop."""
        assert self.pictures is not None
        place = self.pictures.device
        start, columns, shift = (
            None if choice is None else choice.to(place)
            for choice in (choices.crop_start, choices.columns, choices.shift)
        )
        if columns is not None:
            return resample(self.pictures, rows.to(place), columns, shift)
        cut = gather(self.pictures, rows.to(place), start, crop_columns)
        return cut if shift is None else resample(cut, torch.arange(len(cut), device=place), None, shift)

    def _normalised(self, pictures: Tensor) -> Tensor:
        assert self.mean is not None
        assert self.scale is not None
        pictures = pictures.to(self.device, non_blocking=True)
        return normalise(pictures.to(torch.float32, memory_format=torch.channels_last), self.mean, self.scale)


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """A tensor over the memory of `array`, which may be read-only (Ray's object store): it is only ever read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _variants(
    table: ClipTable, preprocessor: Preprocessor, device: torch.device, config: VariantConfig | None
) -> Tensor | None:
    if config is None or table.spectrogram is None or preprocessor.descriptor_state_ is None:
        return None
    return as_tensor(preprocessor.variant_vectors(table.spectrogram, table.features, config)).to(device)


def _place(pictures: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return pictures
    free, _ = torch.cuda.mem_get_info(device)
    return pictures.to(device) if pictures.nbytes <= _GPU_SHARE * free else pictures


def _soft(targets: Tensor, n_labels: int, smoothing: float) -> Tensor:
    """One-hot targets (B, L) with `smoothing` spread evenly over all labels (Szegedy et al. 2016)."""
    off = smoothing / n_labels
    soft = torch.full((len(targets), n_labels), off, device=targets.device)
    return soft.scatter_(1, targets[:, None], 1 - smoothing + off)
