"""From a normalised batch to probabilities, of clips and of tracks, in validation and in prediction alike.

Knows nothing about training, checkpoints or files.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.augment import window_starts
from genre_ray.config import AugmentConfig
from genre_ray.models import Network

_TOGETHER = 16  # windows that go through the network at once: one pass over few is faster than few passes over one


def windows(spectrogram: Tensor | None, augment: AugmentConfig) -> Iterable[Tensor | None]:
    """The even windows in time of a batch (B, C, H, W) that are averaged at test time."""
    if spectrogram is None or augment.crop_columns is None:
        return [spectrogram]
    width = augment.crop_columns
    return (spectrogram[..., start : start + width] for start in window_starts(spectrogram.shape[-1], augment))


def clip_probabilities(
    model: Network, spectrogram: Tensor | None, features: Tensor | None, augment: AugmentConfig
) -> Tensor:
    """Softmax probabilities (B, L) of a batch, the mean over the test-time windows. `model` is in evaluation mode."""
    cuts = list(windows(spectrogram, augment))
    if spectrogram is not None and len(cuts) > 1 and len(cuts) * len(spectrogram) <= _TOGETHER:
        together = torch.cat([cut for cut in cuts if cut is not None])
        repeated = None if features is None else features.repeat(len(cuts), 1)
        every: Tensor = model(together, repeated).float().softmax(dim=1)
        return every.view(len(cuts), len(spectrogram), -1).mean(dim=0)
    parts = [model(cut, features).float().softmax(dim=1) for cut in cuts]
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)


def clip_embeddings(
    model: Network, spectrogram: Tensor | None, features: Tensor | None, augment: AugmentConfig
) -> Tensor:
    """Embeddings (B, D) of a batch, the mean over the test-time windows. `model` is in evaluation mode."""
    parts = [model.embed(window, features).float() for window in windows(spectrogram, augment)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)


def track_means(
    tracks: NDArray[np.str_], probabilities: NDArray[np.float32]
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.int64]]:
    """The mean over the clips of each track: ids in order of appearance, (n_tracks, L), first row of each track."""
    names, first, inverse = np.unique(tracks, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), probabilities.shape[1]))
    np.add.at(sums, inverse, probabilities)
    means = sums / np.bincount(inverse)[:, None]
    order = np.argsort(first)
    return tuple(names[order].tolist()), means[order].astype(np.float32), first[order].astype(np.int64)
