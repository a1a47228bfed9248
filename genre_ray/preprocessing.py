"""The hinge of the house: from a Track to a Sample and a Batch, the same for training, prediction and serving.

`extract` is stateless and expensive, so its clips are cached; a fitted `Preprocessor` scales them. Knows nothing about
Ray, torch, or where tracks come from.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from genre_ray.budget import Budget
from genre_ray.clips import Clips, ClipTable
from genre_ray.config import InputConfig, SpectrogramConfig, VariantConfig
from genre_ray.descriptors import N_DESCRIPTORS, describe_pictures
from genre_ray.errors import NotFittedError, TrackError
from genre_ray.learning import learn
from genre_ray.scaling import (
    picture_statistics,
    scale_descriptors,
    scale_rows,
    state_arrays,
    state_lists,
)
from genre_ray.schema import FEATURE_COLUMNS, Batch, Clip, Sample, Track
from genre_ray.variants import describe_variants

HOP_LENGTH = 512

A = TypeVar("A")
"""A NumPy array or a torch tensor."""


def extract(
    track: Track,
    inputs: InputConfig,
    *,
    fill_s: float = 0.0,
    spent: dict[str, float] | None = None,
    budget: Budget | None = None,
) -> Iterator[Clip]:
    """The clips of `track` in canonical form; one for a figure or a feature row, one or more for audio.

    Windows of audio shorter than 0.9 `fill_s` are repeated until they are as long, as short tracks are: what a model
    makes of ten seconds that were stretched over the picture of thirty is worth little.
    Into `spent` go the seconds that "decode" and "features" took, when it is given and the track is audio. `budget` is
    what audio may cost, which is looked at before it is spent.

    What is missing is computed from the audio. Figure and row win over the audio where both are present, except for the
    full time resolution, which only audio has. TrackError when the track has not what `inputs` needs or cannot be read.
    """
    wants_picture, wants_features = inputs.spectrogram is not None, inputs.features is not None
    form = inputs.spectrogram.form if inputs.spectrogram else None
    picture_ready = not wants_picture or (track.figure is not None and form != "frames")
    features_ready = not wants_features or track.features is not None
    if picture_ready and features_ready:
        yield _from_ready_parts(track, inputs)
    elif track.audio is not None:
        yield from _from_audio(track, inputs, fill_s, {} if spent is None else spent, budget or Budget())
    else:
        raise _missing(track, inputs, picture_ready)


def _missing(track: Track, inputs: InputConfig, picture_ready: bool) -> TrackError:
    lacking = "features" if picture_ready else "a spectrogram"
    if inputs.spectrogram is not None and inputs.spectrogram.form == "frames":
        lacking = "audio (the full time resolution is not in a figure)"
    found = [name for name in ("audio", "figure", "features") if getattr(track, name) is not None]
    return TrackError(
        f"{track.id}: the model needs {lacking}",
        kind="incomplete",
        track=track.id,
        found=", ".join(found) or "nothing",
        expected="audio, or both a figure and a feature row",
        remedy="add the audio file, the figure or the feature row of this track",
    )


def _from_ready_parts(track: Track, inputs: InputConfig) -> Clip:
    from genre_ray import spectrogram

    picture = None
    if inputs.spectrogram is not None and track.figure is not None:
        if inputs.spectrogram.form == "figure":
            picture = spectrogram.picture_from_figure(track.figure, size=inputs.spectrogram.size, track=track.id)
        else:
            picture = spectrogram.from_figure(track.figure, track=track.id)
    row = track.features if inputs.features is not None else None
    return Clip(track=track.id, label=track.label, spectrogram=picture, features=row)


def _from_audio(
    track: Track, inputs: InputConfig, fill_s: float, spent: dict[str, float], budget: Budget
) -> Iterator[Clip]:
    # Here and not at the top: whoever has figures and rows (the ingress, most workers) never waits for the decoders.
    from genre_ray.analysis import analyse
    from genre_ray.audio import SAMPLE_RATE, SHORT, read_clips
    from genre_ray.features import extract as extract_features

    assert track.audio is not None
    config = inputs.spectrogram
    began = time.perf_counter()
    windows = read_clips(track.audio, clip=inputs.clip, track=track.id, budget=budget)
    for index, (start_s, samples) in enumerate(windows):
        budget.count_window()
        budget.turn_to("features")
        decoded = time.perf_counter()
        spent["decode"] = spent.get("decode", 0.0) + decoded - began
        if len(samples) < SHORT * fill_s * SAMPLE_RATE:
            samples = np.resize(samples, round(fill_s * SAMPLE_RATE))
        picture: NDArray[np.uint8] | None = None
        row: NDArray[np.float64] | None = None
        if config is not None and inputs.features is not None and config.form != "figure":
            picture, row = analyse(samples, form=config.form, tail=inputs.features.tail)
        else:
            picture = _picture(samples, config) if config is not None else None
            if inputs.features is not None:
                row = extract_features(samples, tail=inputs.features.tail)
        if config is not None and config.form == "frames" and picture is not None:
            picture = _fit_columns(picture, 1 + int(inputs.clip.duration_s * SAMPLE_RATE) // HOP_LENGTH)
        spent["features"] = spent.get("features", 0.0) + time.perf_counter() - decoded
        yield Clip(track=track.id, label=track.label, index=index, start_s=start_s, spectrogram=picture, features=row)
        budget.turn_to("decode")
        began = time.perf_counter()


def _picture(samples: NDArray[np.float32], config: SpectrogramConfig) -> NDArray[np.uint8]:
    from genre_ray import spectrogram

    if config.form == "figure":
        return spectrogram.picture_from_audio(samples, size=config.size)
    return spectrogram.from_audio(samples, form=config.form)


def _fit_columns(picture: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Trim or repeat in time, so that clips of slightly different lengths stack."""
    if picture.shape[-1] < columns:
        picture = np.concatenate([picture] * -(-columns // picture.shape[-1]), axis=-1)
    return np.ascontiguousarray(picture[..., :columns])


def normalise(spectrogram: A, mean: A, scale: A) -> A:
    """`(spectrogram - mean) * scale` for NumPy arrays and torch tensors alike: one formula for training and serving."""
    result: A = (spectrogram - mean) * scale  # type: ignore[operator]
    return result


class Preprocessor:
    """Scales canonical clips with statistics of the training part; JSON in, JSON out.

    Fitted attributes: `mean_` and `scale_` float32 (C, H, 1) of the spectrogram, `feature_state_` of the features,
    `descriptor_state_` of the descriptors.
    """

    def __init__(self, inputs: InputConfig, labels: Sequence[str]) -> None:
        self.inputs = inputs
        self.labels = tuple(labels)
        self._targets = {label: i for i, label in enumerate(self.labels)}
        self.mean_: NDArray[np.float32] | None = None
        self.scale_: NDArray[np.float32] | None = None
        self.feature_state_: dict[str, NDArray[np.float64]] | None = None
        self.descriptor_state_: dict[str, NDArray[np.float64]] | None = None
        self.fitted_ = False

    def fit(self, train: Clips) -> Self:
        """Learn the statistics of the training part, and of nothing else, in one pass."""
        found = learn(train, pictures=self.inputs.spectrogram is not None, descriptors=self.inputs.descriptors)
        if self.inputs.spectrogram is not None:
            if found.levels is None:
                raise NotFittedError("the training part has no spectrograms", remedy="prepare it with the same inputs")
            self.mean_, self.scale_ = picture_statistics(found.levels, self.inputs.spectrogram.normalisation)
            self.descriptor_state_ = found.descriptors
        if self.inputs.features is not None:
            if found.features is None:
                raise NotFittedError("the training part has no features", remedy="prepare it with the same inputs")
            self.feature_state_ = found.features[self.inputs.features.scaling]
        self.fitted_ = True
        return self

    def transform(self, track: Track) -> list[Sample]:
        """The samples of a track, one per clip. TrackError as `extract`; NotFittedError before `fit`."""
        return list(self.stream(track))

    def stream(self, track: Track) -> Iterator[Sample]:
        """`transform`, one clip at a time: an hour of audio never stands in memory at once."""
        self._require_fit()
        return (self.sample(clip) for clip in extract(track, self.inputs))

    def sample(self, clip: Clip) -> Sample:
        """A clip with its features scaled and its label as an index (None when the label is not one of `labels`)."""
        picture = clip.spectrogram if self.inputs.spectrogram is not None else None
        vector = self.vectors(
            None if picture is None else picture[None], None if clip.features is None else clip.features[None]
        )
        return Sample(
            track=clip.track,
            index=clip.index,
            start_s=clip.start_s,
            target=self._targets.get(clip.label) if clip.label is not None else None,
            spectrogram=picture,
            features=None if vector is None else vector[0],
        )

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples as a Batch; the target is there only when every sample has one."""
        self._require_fit()
        pictures = [sample.spectrogram for sample in samples if sample.spectrogram is not None]
        rows = [sample.features for sample in samples if sample.features is not None]
        targets = [sample.target for sample in samples if sample.target is not None]
        return Batch(
            spectrogram=self.normalise_pictures(np.stack(pictures)) if pictures else None,
            features=np.stack(rows) if rows else None,
            target=np.array(targets, dtype=np.int64) if samples and len(targets) == len(samples) else None,
        )

    def targets(self, table: ClipTable) -> NDArray[np.int64]:
        """Label indices (N,) of a table; KeyError for a label that was not in the training corpus."""
        return np.array([self._targets[label] for label in table.label.tolist()], dtype=np.int64)

    def normalise_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uint8 (B, C, H, W) to float32 with the fitted statistics."""
        self._require_fit()
        assert self.mean_ is not None and self.scale_ is not None
        return normalise(pictures.astype(np.float32), self.mean_, self.scale_)

    def scale_features(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Raw features (B, 57) to float32 with the fitted statistics."""
        self._require_fit()
        assert self.feature_state_ is not None and self.inputs.features is not None
        return scale_rows(rows, self.feature_state_, self.inputs.features)

    def vectors(
        self,
        pictures: NDArray[np.uint8] | None,
        rows: NDArray[np.float64] | None,
        *,
        described: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32] | None:
        """What a network takes as features (B, F): scaled features, then scaled descriptors; None: it takes neither.

        `pictures` are canonical (B, C, H, W), `rows` raw features (B, 57), `described` the pictures' descriptors where
        they are known already.
        """
        self._require_fit()
        parts = []
        if self.feature_state_ is not None and rows is not None:
            parts.append(self.scale_features(rows))
        if self.descriptor_state_ is not None and pictures is not None:
            found = describe_pictures(pictures) if described is None else described
            parts.append(scale_descriptors(found, self.descriptor_state_))
        return np.concatenate(parts, axis=1) if parts else None

    def variant_vectors(
        self, pictures: NDArray[np.uint8], rows: NDArray[np.float64] | None, config: VariantConfig
    ) -> NDArray[np.float32]:
        """`vectors` of the variants of each clip, (B, count, F): other descriptors beside the clip's own features."""
        self._require_fit()
        assert self.descriptor_state_ is not None
        found = scale_descriptors(describe_variants(pictures, config), self.descriptor_state_)
        if self.feature_state_ is None or rows is None:
            return found
        own = np.repeat(self.scale_features(rows)[:, None], config.count, axis=1)
        return np.concatenate([own, found], axis=2)

    def to_json(self) -> dict[str, Any]:
        """The fitted state as plain JSON values."""
        self._require_fit()
        state = self.feature_state_
        return {
            "mean": None if self.mean_ is None else self.mean_.tolist(),
            "scale": None if self.scale_ is None else self.scale_.tolist(),
            "feature_columns": list(FEATURE_COLUMNS) if state is not None else None,
            "features": state_lists(state),
            "descriptors": state_lists(self.descriptor_state_),
        }

    @classmethod
    def from_json(cls, inputs: InputConfig, labels: Sequence[str], state: dict[str, Any]) -> Self:
        """The inverse of `to_json`; ValueError when the feature columns or descriptors are not this version's."""
        if state["feature_columns"] not in (None, list(FEATURE_COLUMNS)):
            raise ValueError("the feature columns of the stored state are not those of this version")
        described = state.get("descriptors")
        if described is not None and len(described["mean"]) != N_DESCRIPTORS:
            raise ValueError(f"the stored state has {len(described['mean'])} descriptors, this version {N_DESCRIPTORS}")
        restored = cls(inputs, labels)
        restored.mean_ = None if state["mean"] is None else np.array(state["mean"], dtype=np.float32)
        restored.scale_ = None if state["scale"] is None else np.array(state["scale"], dtype=np.float32)
        restored.feature_state_ = state_arrays(state["features"])
        restored.descriptor_state_ = state_arrays(state.get("descriptors"))
        restored.fitted_ = True
        return restored

    def _require_fit(self) -> None:
        if not self.fitted_:
            raise NotFittedError("the preprocessor is not fitted", remedy="call fit(train) or open a checkpoint")


def samples_of(table: ClipTable, preprocessor: Preprocessor, rows: Iterable[int]) -> list[Sample]:
    """Samples of a prepared table: the training door, for tests of parity with the other two."""
    return [
        preprocessor.sample(
            Clip(
                track=str(table.track[i]),
                label=str(table.label[i]) or None,
                index=int(table.index[i]),
                start_s=float(table.start_s[i]),
                spectrogram=None if table.spectrogram is None else table.spectrogram[i],
                features=None if table.features is None else table.features[i],
            )
        )
        for i in rows
    ]
