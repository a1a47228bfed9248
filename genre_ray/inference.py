"""Predictor: from a checkpoint and tracks to probabilities; the one way in which genre_ray answers.

Probability of a clip: the mean over the members, by their weights, of softmax(logits) averaged over the windows in
time, then tempered (see `genre_ray.calibration`). Probability of a track: the mean over its clips. Knows nothing about
Ray.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.calibration import fit_temperature, temper
from genre_ray.checkpoint import Checkpoint, open_checkpoint
from genre_ray.clips import Clips, ClipTable
from genre_ray.config import AugmentConfig, InputConfig
from genre_ray.descriptors import describe_pictures
from genre_ray.device import open_device
from genre_ray.errors import TrackError
from genre_ray.fitted import Fitted
from genre_ray.models import Network, fold_batch_norm
from genre_ray.preprocessing import Preprocessor, extract
from genre_ray.schema import FEATURE_COLUMNS, FIGURE_COLUMNS, Batch, Clip, ClipPrediction, Prediction, Track
from genre_ray.scoring import clip_embeddings, clip_probabilities, track_means

__all__ = ["Member", "Predictor", "fit_temperature"]

_CHUNK = 16  # clips of a long track in memory at once


@dataclass(frozen=True, slots=True)
class Member:
    """A fitted network made ready to answer: batch normalisation folded, on its device, channels last."""

    preprocessor: Preprocessor
    model: Network
    augment: AugmentConfig
    device: torch.device

    @classmethod
    def of(cls, fitted: Fitted, device: torch.device) -> Self:
        """Ready `fitted` for `device`."""
        model = fold_batch_norm(fitted.model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(fitted.preprocessor, model, fitted.config.training.augment, device)

    def batch(self, clips: Sequence[Clip], described: NDArray[np.float32] | None = None) -> Batch:
        """The clips as this member's network sees them: `collate` of their samples, scaled all at once.

        `described` are their descriptors where they are known already.
        """
        wants = self.preprocessor.inputs
        pictures = [clip.spectrogram for clip in clips if clip.spectrogram is not None and wants.spectrogram]
        rows = [clip.features for clip in clips if clip.features is not None and wants.features]
        stacked = np.stack(pictures) if pictures else None
        looks = self.model.picture_shape is not None  # else the pictures are there for their descriptors alone
        return Batch(
            spectrogram=self.preprocessor.normalise_pictures(stacked) if looks and stacked is not None else None,
            features=self.preprocessor.vectors(stacked, np.stack(rows) if rows else None, described=described),
        )

    def tensors(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Spectrogram and features of a batch on the member's device."""
        spectrogram = features = None
        if batch.spectrogram is not None:
            spectrogram = torch.from_numpy(batch.spectrogram).to(self.device, memory_format=torch.channels_last)
        if batch.features is not None:
            features = torch.from_numpy(batch.features).to(self.device)
        return spectrogram, features

    @torch.inference_mode()
    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Raw outputs (B, L) over whole clips."""
        logits: NDArray[np.float32] = self.model(*self.tensors(batch)).float().cpu().numpy()
        return logits

    @torch.inference_mode()
    def probabilities(self, batch: Batch) -> NDArray[np.float32]:
        """Softmax probabilities (B, L), the mean over the windows in time."""
        spectrogram, features = self.tensors(batch)
        found = clip_probabilities(self.model, spectrogram, features, self.augment)
        probabilities: NDArray[np.float32] = found.cpu().numpy()
        return probabilities

    @torch.inference_mode()
    def embeddings(self, batch: Batch) -> NDArray[np.float32]:
        """The last hidden layer (B, D), the mean over the windows in time."""
        spectrogram, features = self.tensors(batch)
        embeddings: NDArray[np.float32] = clip_embeddings(self.model, spectrogram, features, self.augment).cpu().numpy()
        return embeddings


class Predictor:
    """A checkpoint ready to answer. One object may be used by one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", threads: int | None = None) -> None:
        self.device = open_device(device, threads=threads)
        self.labels = checkpoint.labels
        self.version = checkpoint.version
        self.inputs: InputConfig = checkpoint.inputs
        self.manifest: dict[str, Any] = checkpoint.manifest
        self.temperature = checkpoint.temperature
        self.unsure_below = checkpoint.unsure_below
        self.members = tuple(Member.of(member, self.device) for member in checkpoint.members)
        self.weights = checkpoint.weights

    @classmethod
    def open(cls, path: str | Path, *, device: str = "auto", threads: int | None = None) -> Self:
        """The checkpoint at a path or URI; errors as `checkpoint.open_checkpoint`, ConfigError for the device."""
        return cls(open_checkpoint(path), device=device, threads=threads)

    def predict(self, track: Track) -> Prediction:
        """The answer for one track, clip by clip in bounded memory. TrackError when it cannot be used."""
        starts: list[float] = []
        parts: list[NDArray[np.float32]] = []
        for clips in _chunks(extract(track, self.inputs), _CHUNK):
            starts += [clip.start_s for clip in clips]
            parts.append(self.predict_clips(clips))
        return self._prediction(track.id, starts, np.concatenate(parts))

    def predict_many(self, tracks: Iterable[Track]) -> list[Prediction | TrackError]:
        """An answer for each track in order; a track that cannot be used has its TrackError there, the others go on.

        Tracks are put together into batches; a long one is taken by itself, in bounded memory.
        """
        answers: list[Prediction | TrackError] = []
        waiting: list[tuple[int, list[Clip]]] = []
        for track in tracks:
            try:
                clips = list(islice(stream := extract(track, self.inputs), _CHUNK))
                if len(clips) == _CHUNK:
                    answers.append(self._predict_stream(track.id, clips, stream))
                    continue
            except TrackError as error:
                answers.append(error)
                continue
            waiting.append((len(answers), clips))
            answers.append(TrackError("not answered yet", kind="pending"))
            if sum(len(clips) for _, clips in waiting) >= _CHUNK:
                self._answer(waiting, answers)
        self._answer(waiting, answers)
        return answers

    def predict_clips(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Probabilities (N, n_labels) of canonical clips, tempered."""
        if not clips:
            return np.zeros((0, len(self.labels)), np.float32)
        batches = self._batches(clips)
        return temper(
            self._mixed(member.probabilities(batches[member.preprocessor]) for member in self.members), self.temperature
        )

    def predict_table(self, table: Clips, *, batch_size: int = 64) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Track ids in order of first appearance, and their probabilities (n_tracks, n_labels): means over clips."""
        parts, tracks = [], []
        for piece in table.pieces():
            parts += [self.predict_clips(rows) for rows in _chunks(_clips(piece), batch_size)]
            tracks.append(piece.track)
        if not parts:
            return (), np.zeros((0, len(self.labels)), np.float32)
        names, probabilities, _ = track_means(np.concatenate(tracks), np.concatenate(parts))
        return names, probabilities

    def embed_clips(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Embeddings (N, D): the members' last hidden layers, side by side."""
        batches = self._batches(clips)
        return np.concatenate([member.embeddings(batches[member.preprocessor]) for member in self.members], axis=1)

    def warm_up(self) -> None:
        """Answer once for an empty clip, so that the first real answer is as fast as the others."""
        clip = Clip(track="warm-up", spectrogram=self._blank_picture(), features=self._blank_features())
        self.predict_clips([clip])

    def _batches(self, clips: Sequence[Clip]) -> dict[Preprocessor, Batch]:
        """The clips as each preprocessor leaves them, once for all its members; they are described once for all."""
        takers = {member.preprocessor: member for member in self.members}
        described = None
        if len(takers) > 1 and any(preprocessor.inputs.descriptors for preprocessor in takers):
            described = describe_pictures(
                np.stack([clip.spectrogram for clip in clips if clip.spectrogram is not None])
            )
        return {preprocessor: member.batch(clips, described) for preprocessor, member in takers.items()}

    def _blank_picture(self) -> NDArray[np.uint8] | None:
        for member in self.members:
            mean = member.preprocessor.mean_
            if mean is not None:
                wanted = self.inputs.spectrogram
                whole_figure = wanted is not None and wanted.form == "figure"
                return np.zeros((*mean.shape[:2], mean.shape[1] if whole_figure else FIGURE_COLUMNS), np.uint8)
        return None

    def _blank_features(self) -> NDArray[np.float64] | None:
        return None if self.inputs.features is None else np.zeros(len(FEATURE_COLUMNS))

    def _mixed(self, parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        weighted = [weight * part for weight, part in zip(self.weights, parts, strict=True)]
        mixed: NDArray[np.float32] = np.sum(weighted, axis=0, dtype=np.float32)
        return mixed

    def _predict_stream(self, track: str, first: list[Clip], rest: Iterator[Clip]) -> Prediction:
        starts = [clip.start_s for clip in first]
        parts = [self.predict_clips(first)]
        for clips in _chunks(rest, _CHUNK):
            starts += [clip.start_s for clip in clips]
            parts.append(self.predict_clips(clips))
        return self._prediction(track, starts, np.concatenate(parts))

    def _answer(self, waiting: list[tuple[int, list[Clip]]], answers: list[Prediction | TrackError]) -> None:
        """Predict the clips of the `waiting` tracks in one batch and put the answers in their places."""
        together = self.predict_clips([clip for _, clips in waiting for clip in clips])
        done = 0
        for place, clips in waiting:
            rows = together[done : done + len(clips)]
            answers[place] = self._prediction(clips[0].track, [clip.start_s for clip in clips], rows)
            done += len(clips)
        waiting.clear()

    def _prediction(self, track: str, starts: list[float], clips: NDArray[np.float32]) -> Prediction:
        return Prediction(
            track=track,
            labels=self.labels,
            probabilities=clips.mean(axis=0),
            clips=tuple(
                ClipPrediction(start_s=start, probabilities=row) for start, row in zip(starts, clips, strict=True)
            ),
            unsure_below=self.unsure_below,
        )


def _chunks(clips: Iterable[Clip], size: int) -> Iterator[list[Clip]]:
    stream = iter(clips)
    while chunk := list(islice(stream, size)):
        yield chunk


def _clips(table: ClipTable) -> Iterator[Clip]:
    for i in range(len(table)):
        yield Clip(
            track=str(table.track[i]),
            index=int(table.index[i]),
            start_s=float(table.start_s[i]),
            spectrogram=None if table.spectrogram is None else table.spectrogram[i],
            features=None if table.features is None else table.features[i],
        )
