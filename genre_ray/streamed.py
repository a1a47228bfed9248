"""A part of a corpus that comes by as a stream, to a fit no different from one that lies in memory.

Only the batch in hand is on the device. Knows nothing about models, or where the stream comes from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.augment import Choices
from genre_ray.batches import even_batches
from genre_ray.clips import Clips, ClipTable
from genre_ray.config import InputConfig, TrainingConfig, VariantConfig
from genre_ray.data.streams import ClipStream
from genre_ray.descriptors import N_DESCRIPTORS
from genre_ray.errors import RunError
from genre_ray.preprocessing import Preprocessor
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.tensors import AUGMENT, ORDER, DevicePart, Part, Step, generator

_MB = 1024**2


def open_part(
    clips: Clips,
    preprocessor: Preprocessor,
    device: torch.device,
    *,
    pictures_too: bool,
    vectors_needed: bool,
    variants: VariantConfig | None = None,
) -> Part:
    """The part that a fit sees: in memory as it is, or streamed; of a stream whose pictures nobody looks at, the
    vectors are gathered if they are small enough. A stream has no variants: they would be computed anew each epoch.

    RunError when `vectors_needed` (the model is fitted in one go) and they are not.
    """
    if isinstance(clips, ClipTable):
        return DevicePart.of(clips, preprocessor, device, pictures_too=pictures_too, variants=variants)
    assert isinstance(clips, ClipStream)
    streamed = StreamedPart(clips, preprocessor, device, pictures_too)
    if pictures_too:
        return streamed
    size, most = len(clips) * (streamed.n_features or 0) * 4 / _MB, clips.settings.vectors_mb
    if size <= most:
        return GatheredPart(streamed)
    if vectors_needed:
        raise RunError(
            "the model needs all vectors of its training part in memory",
            found=f"{len(clips)} clips of {streamed.n_features} numbers, {size:.0f} MB",
            expected=f"at most streaming.vectors_mb = {most}",
            remedy="raise streaming.vectors_mb if the machines have the memory, train on fewer tracks, or take a"
            " network (mlp, cnn, hybrid), which is fitted batch by batch",
        )
    return streamed


@dataclass(frozen=True, slots=True)
class StreamedPart:
    """See `tensors.Part`. Pictures are left behind without `pictures_too`."""

    source: ClipStream
    preprocessor: Preprocessor
    device: torch.device
    pictures_too: bool

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.source)

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of a whole clip."""
        return self.source.picture_shape if self.pictures_too and self.preprocessor.mean_ is not None else None

    @property
    def n_features(self) -> int | None:
        """Width of a feature row."""
        return _width(self.preprocessor.inputs)

    @property
    def tracks(self) -> NDArray[np.str_]:
        """The track of each clip."""
        return self.source.tracks_of_clips()

    @property
    def targets(self) -> Tensor:
        """The label index of each clip."""
        place = {label: i for i, label in enumerate(self.preprocessor.labels)}
        by_track = np.array([place[label] for label in self.source.label.tolist()], dtype=np.int64)
        return torch.from_numpy(np.repeat(by_track, self.source.rows)).to(self.device)

    def n_steps(self, batch_size: int, shard: tuple[int, int]) -> int:
        """See Part; each worker gets at least a clip in each step."""
        return max(1, min(-(-len(self) // batch_size), len(self) // shard[1]))

    def steps(self, training: TrainingConfig, *, epoch: int, shard: tuple[int, int]) -> Iterator[Step]:
        """See Part; each worker reads and augments its own clips, and mixup stays among them."""
        count = self.n_steps(training.batch_size, shard)
        sizes = np.stack([_even(_share(len(self), (rank, shard[1])), count) for rank in range(shard[1])])
        random = generator(training, AUGMENT, epoch, shard[0])
        seed = (training.seed, ORDER, epoch)
        pieces = self.source.shuffled(seed, share=shard, pictures=self._reads_pictures)
        for table, samples in zip(cut(pieces, sizes[shard[0]].tolist()), sizes.sum(axis=0).tolist(), strict=True):
            yield self._step(table, samples, training, random)

    def batches(self, size: int) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """See Part."""
        for piece in self.source.pieces(pictures=self._reads_pictures):
            yield from self._on_device(piece).batches(size)

    def _step(self, table: ClipTable, samples: int, training: TrainingConfig, random: np.random.Generator) -> Step:
        part = self._on_device(table)
        choices = Choices.draw(
            len(part),
            training.augment,
            random,
            picture_shape=part.picture_shape,
            n_features=part.n_features,
        ).to(self.device)
        batch = part.training_batch(torch.arange(len(part), device=self.device), choices, training)
        weights = torch.ones(len(part), device=self.device)
        if len(part) == 1:  # batch normalisation needs two; the second weighs nothing
            batch = batch.take(torch.zeros(2, dtype=torch.int64, device=self.device))
            weights = torch.tensor([1.0, 0.0], device=self.device)
        return Step(batch=batch, weights=weights, samples=samples)

    @property
    def _reads_pictures(self) -> bool:
        return self.preprocessor.inputs.spectrogram is not None and (
            self.pictures_too or self.preprocessor.inputs.descriptors
        )

    def _on_device(self, table: ClipTable) -> DevicePart:
        return DevicePart.of(table, self.preprocessor, self.device, pictures_too=self.pictures_too)


@dataclass(frozen=True)
class GatheredPart:
    """See `tensors.Part`: the vectors of a stream, in memory from the first use on, ordered by track as prepared tables
    are. A fit that is only opened to be read reads none.
    """

    streamed: StreamedPart

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.streamed)

    @property
    def picture_shape(self) -> None:
        """None: no pictures."""
        return None

    @property
    def n_features(self) -> int | None:
        """Width of a feature row."""
        return self.streamed.n_features

    @property
    def tracks(self) -> NDArray[np.str_]:
        """The track of each clip."""
        return self.whole.tracks

    @property
    def targets(self) -> Tensor:
        """The label index of each clip."""
        return self.whole.targets

    @property
    def features(self) -> Tensor | None:
        """All vectors (N, F)."""
        return self.whole.features

    def n_steps(self, batch_size: int, shard: tuple[int, int]) -> int:
        """See Part."""
        return len(even_batches(len(self), batch_size))

    def steps(self, training: TrainingConfig, *, epoch: int, shard: tuple[int, int]) -> Iterator[Step]:
        """See Part."""
        return self.whole.steps(training, epoch=epoch, shard=shard)

    def batches(self, size: int) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """See Part."""
        return self.whole.batches(size)

    def vectors(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """See DevicePart."""
        return self.whole.vectors()

    @cached_property
    def whole(self) -> DevicePart:
        """The part in memory."""
        rows = [features for _, features in self.streamed.batches(512) if features is not None]
        tracks = self.streamed.tracks
        order = np.argsort(tracks, kind="stable")
        place = torch.from_numpy(order).to(self.streamed.device)
        return DevicePart(
            device=self.streamed.device,
            tracks=tracks[order],
            pictures=None,
            features=torch.cat(rows)[place] if rows else None,
            targets=self.streamed.targets[place],
            mean=None,
            scale=None,
            n_labels=len(self.streamed.preprocessor.labels),
        )


def cut(pieces: Iterator[ClipTable], sizes: Sequence[int]) -> Iterator[ClipTable]:
    """The clips of `pieces` in their order, in tables of these sizes."""
    waiting: list[ClipTable] = []
    have = 0
    for size in sizes:
        while have < size:
            waiting.append(next(pieces))
            have += len(waiting[-1])
        together = ClipTable.joined(waiting)
        yield together.rows(0, size)
        waiting, have = [together.rows(size, have)], have - size
    assert not have and next(pieces, None) is None  # to its end, so that the reader ends as well


def _share(total: int, shard: tuple[int, int]) -> int:
    rank, size = shard
    return total * (rank + 1) // size - total * rank // size


def _even(total: int, count: int) -> NDArray[np.int64]:
    """`total` in `count` parts that differ by at most one."""
    return np.diff([total * i // count for i in range(count + 1)])


def _width(inputs: InputConfig) -> int | None:
    width = len(FEATURE_COLUMNS) * (inputs.features is not None) + N_DESCRIPTORS * inputs.descriptors
    return width or None
