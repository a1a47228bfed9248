"""Predictions as JSON: the service's own form, and the list of label and score that Hugging Face's clients read.

Knows nothing about Ray, servers, or how predictions come about.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from genre_ray.schema import ClipPrediction, Prediction
from genre_ray.serve.protocol import Options


def prediction_members(
    prediction: Prediction, options: Options, *, tag_threshold: float | None = None
) -> dict[str, Any]:
    """`label`, `score`, `unsure`, `predictions` (best first, cut by the options) and all `probabilities`."""
    exact = prediction.probabilities.tolist()
    scores = [round(p, 6) for p in exact]
    best = scores.index(max(scores))
    return {
        "label": prediction.labels[best],
        "score": scores[best],
        "unsure": prediction.unsure,
        "predictions": _ranked(prediction.labels, exact, scores, options, tag_threshold),
        "probabilities": dict(zip(prediction.labels, scores, strict=True)),
    }


def ranked(prediction: Prediction, options: Options, *, tag_threshold: float | None = None) -> list[dict[str, Any]]:
    """`[{"label", "score"}]`, best first: at most `top_k`, none below `threshold`."""
    exact = prediction.probabilities.tolist()
    return _ranked(prediction.labels, exact, [round(p, 6) for p in exact], options, tag_threshold)


def _ranked(
    labels: Sequence[str], exact: list[float], scores: list[float], options: Options, tag_threshold: float | None
) -> list[dict[str, Any]]:
    threshold = options.threshold if options.threshold is not None else tag_threshold
    order = sorted(range(len(exact)), key=exact.__getitem__, reverse=True)
    kept = order if threshold is None else [i for i in order if exact[i] >= threshold]
    return [{"label": labels[i], "score": scores[i]} for i in kept[: options.top_k]]


def course_members(clips: Sequence[ClipPrediction], duration_s: float) -> dict[str, Any]:
    """The genres' course: window length, the start of each window, and one row of probabilities for each."""
    return {
        "window_s": duration_s,
        "start_s": [round(clip.start_s, 3) for clip in clips],
        "probabilities": [[round(float(p), 4) for p in clip.probabilities] for clip in clips],
    }


def to_json(members: dict[str, Any] | list[Any]) -> bytes:
    """Compact JSON."""
    return orjson.dumps(members)
