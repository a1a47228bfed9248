"""The model that a replica answers with: opened, checked, warmed, and exchanged for another without a gap.

Plain calls, one thread at a time. Knows nothing about Ray, HTTP, or how requests are encoded.
"""

import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from genre_ray.budget import Budget
from genre_ray.config import InputConfig
from genre_ray.errors import CheckpointFormatError, FigureError, GenreRayError
from genre_ray.inference import Predictor
from genre_ray.preprocessing import extract
from genre_ray.schema import (
    FEATURE_COLUMNS,
    FIGURE_COLUMNS,
    N_MELS,
    SAMPLE_RATE,
    Clip,
    ClipPrediction,
    Prediction,
    Track,
)
from genre_ray.serve.explanation import occlusion_map
from genre_ray.serve.protocol import Inquiry, Options
from genre_ray.serve.quickening import quicken
from genre_ray.serve.settings import ServeArgs, UserConfig, service_clip
from genre_ray.source import refuse_too_large
from genre_ray.spectrogram import figure_from_levels

logger = logging.getLogger(__name__)

_COURSE_WINDOW_S = 10.0
_COURSE_HOP_S = 5.0
_CHUNK = 8
TOGETHER = 8
"""Figures described and predicted at once when they wait anyway: two fifths less each than one by one."""

_WARM_SAMPLES = 12 * SAMPLE_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer with what it cost: seconds by stage, and the parts that a client asked for."""

    prediction: Prediction
    version: str
    options: Options
    stages: dict[str, float] = field(default_factory=dict)
    course: tuple[ClipPrediction, ...] = ()
    course_window_s: float = 0.0
    explanation: dict[str, Any] | None = None
    clips: tuple[Clip, ...] = ()


class Engine:
    """A Predictor under the service's limits, and its exchange.

    `refused` tells of the last checkpoint that was not taken, None when the last one was.
    """

    def __init__(self, args: ServeArgs, checkpoint: str) -> None:
        self.args = args
        self.checkpoint = checkpoint
        self.refused: dict[str, str] | None = None
        self.predictor = self._open(checkpoint)

    @property
    def version(self) -> str:
        """Version of the model that answers now."""
        return self.predictor.version

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model that answers now, in its order."""
        return self.predictor.labels

    def reconfigure(self, config: UserConfig, *, default: str) -> bool:
        """Answer with the checkpoint of `config` from now on, or go on as before if it cannot be used; True if changed.

        Never raises for a bad checkpoint: Serve would take the replica out, and the old model would be lost with it.
        """
        wanted = config.checkpoint or default
        if wanted == self.checkpoint and self.refused is None:
            return False
        try:
            predictor = self._open(wanted)
            if not config.allow_new_labels:
                _require_same_form(self.predictor, predictor)
        except Exception as error:
            logger.exception("checkpoint %s is refused, %s goes on", wanted, self.checkpoint)
            self.refused = {"checkpoint": wanted, "reason": _reason(error)}
            return False
        self.predictor, self.checkpoint, self.refused = predictor, wanted, None
        logger.info("checkpoint %s (version %s) answers from now on", wanted, predictor.version)
        return True

    def clips(self, track: Track, *, clip_s: float | None = None, hop_s: float | None = None) -> list[Clip]:
        """The clips of a track under the service's limits; TrackError when it cannot be used."""
        return self._clips(self.predictor, track, clip_s, hop_s)

    def forward_many(self, items: Sequence[tuple[str, list[Clip]]]) -> list[tuple[Prediction, str] | Exception]:
        """One forward pass over the clips of several tracks, each answer with the model's version.

        If the pass fails, each track is tried by itself, and one that fails is its error.
        """
        return self._forward_many(self.predictor, items)

    def _forward_many(
        self, predictor: Predictor, items: Sequence[tuple[str, list[Clip]]]
    ) -> list[tuple[Prediction, str] | Exception]:
        if not items:
            return []
        try:
            rows = predictor.predict_clips([clip for _, own in items for clip in own])
            ends = np.cumsum([len(own) for _, own in items])
            return [
                (prediction_of(track, predictor, own, part), predictor.version)
                for (track, own), part in zip(items, np.split(rows, ends[:-1]), strict=True)
            ]
        except Exception as error:
            return [error] if len(items) == 1 else [self._forward_many(predictor, [item])[0] for item in items]

    def answer_many(self, inquiries: Sequence[Inquiry]) -> list[Answered | Exception]:
        """`answer` for several inquiries with one forward pass; one that fails is its error, the others go on."""
        predictor = self.predictor  # one and the same throughout, whatever is exchanged meanwhile
        found: list[Answered | Exception | None] = [None] * len(inquiries)
        decoded: list[tuple[int, float, list[Clip]]] = []
        for place, inquiry in enumerate(inquiries):
            try:
                if len(inquiries) == 1 or inquiry.options.explain or inquiry.track.audio is not None:
                    found[place] = self.answer(inquiry.track, inquiry.options)
                    continue
                start = time.perf_counter()
                clips = self._clips(predictor, inquiry.track, None, None)
                decoded.append((place, time.perf_counter() - start, clips))
            except Exception as error:
                found[place] = error
        start = time.perf_counter()
        answers = self._forward_many(predictor, [(inquiries[place].track.id, clips) for place, _, clips in decoded])
        took = time.perf_counter() - start
        for (place, decoding, clips), answer in zip(decoded, answers, strict=True):
            if isinstance(answer, Exception):
                found[place] = answer
                continue
            prediction, version = answer
            found[place] = Answered(
                prediction=prediction,
                version=version,
                options=inquiries[place].options,
                stages={"decode": decoding, "forward": took},
                clips=tuple(clips),
            )
        return [answer for answer in found if answer is not None]

    def answer(self, track: Track, options: Options) -> Answered:
        """Decode, predict, and what else the options ask for. TrackError when the track cannot be used."""
        predictor = self.predictor  # one and the same throughout, whatever is exchanged meanwhile
        start = time.perf_counter()
        stages: dict[str, float] = {}
        clips = self._clips(predictor, track, options.clip_s, None, stages)
        decoded = time.perf_counter()
        stages.setdefault("decode", decoded - start)
        prediction = _forward(predictor, track.id, clips)
        stages["forward"] = time.perf_counter() - decoded
        course, window_s = self._course(predictor, track, options, prediction)
        explanation = None
        if options.explain:
            explained = time.perf_counter()
            explanation = occlusion_map(
                predictor,
                clips[0],
                int(np.argmax(prediction.probabilities)),
                window_s=max(options.clip_s or 0.0, predictor.inputs.clip.duration_s),
            )
            stages["explain"] = time.perf_counter() - explained
        return Answered(
            prediction=prediction,
            version=predictor.version,
            options=options,
            stages=stages,
            course=course,
            course_window_s=window_s,
            explanation=explanation,
            clips=tuple(clips),
        )

    def _clips(
        self,
        predictor: Predictor,
        track: Track,
        clip_s: float | None,
        hop_s: float | None,
        spent: dict[str, float] | None = None,
    ) -> list[Clip]:
        inputs = predictor.inputs
        clip = service_clip(self.args, inputs.clip, clip_s=clip_s, hop_s=hop_s)
        inputs = inputs.model_copy(update={"clip": clip})
        if track.audio is None:
            if isinstance(track.figure, bytes):  # one of a batch, whose body may be larger than a figure's
                limit = self.args.limits.max_body_bytes
                refuse_too_large(len(track.figure), limit=limit, name=track.id, track=track.id, kind=FigureError)
            return list(extract(track, inputs))
        return self._recorded(track, inputs, predictor.inputs.clip.duration_s, {} if spent is None else spent)

    def _recorded(self, track: Track, inputs: InputConfig, fill_s: float, spent: dict[str, float]) -> list[Clip]:
        """The clips of a recording, of which windows and processor time are counted."""
        limits = self.args.limits
        budget = Budget(
            decode_cpu_s=limits.decode_cpu_s,
            features_cpu_s=limits.features_cpu_s,
            max_windows=limits.max_windows,
            track=track.id,
        )
        return list(extract(track, inputs, fill_s=fill_s, spent=spent, budget=budget))

    def _course(
        self, predictor: Predictor, track: Track, options: Options, prediction: Prediction
    ) -> tuple[tuple[ClipPrediction, ...], float]:
        """Clips of the answer itself when there are enough of them, else of shorter windows over the same sound."""
        if not options.over_time or track.audio is None:
            return (), 0.0
        if options.clip_s is not None or len(prediction.clips) >= 4:
            return prediction.clips, options.clip_s or predictor.inputs.clip.duration_s
        clips = self._clips(predictor, track, _COURSE_WINDOW_S, _COURSE_HOP_S)
        return _forward(predictor, track.id, clips).clips, _COURSE_WINDOW_S

    def warm_figure(self) -> None:
        """Answer for drawn figures, so that the first ones do not wait for what is compiled on first use."""
        inputs = self.predictor.inputs
        if inputs.spectrogram is None or inputs.spectrogram.form == "frames":
            return
        content = io.BytesIO()
        levels = np.random.default_rng(0).integers(0, 256, (1, N_MELS, FIGURE_COLUMNS), dtype=np.uint8)
        figure_from_levels(levels).save(content, "PNG")
        row = None if inputs.features is None else np.zeros(len(FEATURE_COLUMNS))
        inquiry = Inquiry(Track(id="warm-up", figure=content.getvalue(), features=row), Options())
        for at_once in range(1, TOGETHER + 1):
            self.answer_many([inquiry] * at_once)

    def warm_audio(self) -> None:
        """Answer for seconds of noise, so that the first recording does not wait for what is compiled on first use."""
        noise = np.random.default_rng(0).normal(0.0, 0.1, _WARM_SAMPLES).astype(np.float32)
        content = io.BytesIO()
        soundfile.write(content, noise, SAMPLE_RATE, format="WAV")
        self.answer(Track(id="warm-up", audio=content.getvalue()), Options())

    def _open(self, checkpoint: str) -> Predictor:
        """Open, quicken, warm, check."""
        predictor = Predictor.open(checkpoint, device=self.args.device, threads=self.args.threads)
        if self.args.unsure_below is not None:
            predictor.unsure_below = self.args.unsure_below
        quicken(predictor, self.args.backend)
        predictor.warm_up()
        probe = predictor.predict_clips([_probe(predictor.inputs)])
        if not np.isfinite(probe).all() or abs(float(probe.sum()) - 1.0) > 1e-3:
            raise CheckpointFormatError(
                f"{checkpoint}: the model gives no probabilities",
                found=f"a sum of {float(probe.sum()):.3g}",
                expected="finite values that sum to 1",
                remedy="train again, or serve another checkpoint",
            )
        return predictor


def _forward(predictor: Predictor, track: str, clips: Sequence[Clip]) -> Prediction:
    """The mean over the clips, which are taken a few at a time."""
    parts = [predictor.predict_clips(clips[i : i + _CHUNK]) for i in range(0, len(clips), _CHUNK)]
    return prediction_of(track, predictor, clips, np.concatenate(parts))


def prediction_of(
    track: str, predictor: Predictor, clips: Sequence[Clip], probabilities: NDArray[np.float32]
) -> Prediction:
    """The answer for a track from the probabilities (N, n_labels) of its clips: their mean, as `Predictor.predict`."""
    return Prediction(
        track=track,
        labels=predictor.labels,
        unsure_below=predictor.unsure_below,
        probabilities=probabilities.mean(axis=0),
        clips=tuple(
            ClipPrediction(start_s=clip.start_s, probabilities=row)
            for clip, row in zip(clips, probabilities, strict=True)
        ),
    )


def _probe(inputs: InputConfig) -> Clip:
    """A clip of mid-level noise from a fixed seed: unlike silence it reaches every part of the network."""
    generator = np.random.default_rng(0)
    shape = (1, 128, 334)
    if inputs.spectrogram is not None and inputs.spectrogram.form == "figure":
        shape = (3, inputs.spectrogram.size, inputs.spectrogram.size)
    picture = generator.integers(0, 256, shape, dtype=np.uint8)
    return Clip(
        track="probe",
        spectrogram=None if inputs.spectrogram is None else picture,
        features=None if inputs.features is None else generator.normal(size=57),
    )


def _require_same_form(old: Predictor, new: Predictor) -> None:
    """Clients of the running model must not find other labels or other needs behind the same address."""
    then, now = _form(old), _form(new)
    if then != now:
        raise CheckpointFormatError(
            "the new checkpoint answers another question than the running one",
            found=str(now)[:300],
            expected=str(then)[:300],
            remedy="set user_config.allow_new_labels: true if that is meant",
        )


def _form(predictor: Predictor) -> dict[str, object]:
    picture = predictor.inputs.spectrogram
    return {
        "labels": predictor.labels,
        "spectrogram": picture.form if picture else None,
        "features": predictor.inputs.features is not None,
    }


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, GenreRayError) else f"{type(error).__name__}: {error}"
