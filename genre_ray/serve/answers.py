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
    scores = [round(float(p), 6) for p in prediction.probabilities]
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "label": prediction.labels[best],
        "score": scores[best],
        "unsure": prediction.unsure,
        "predictions": ranked(prediction, options, tag_threshold=tag_threshold),
        "probabilities": dict(zip(prediction.labels, scores, strict=True)),
    }


def ranked(prediction: Prediction, options: Options, *, tag_threshold: float | None = None) -> list[dict[str, Any]]:
    """`[{"label", "score"}]`, best first: at most `top_k`, none below `threshold`."""
    threshold = options.threshold if options.threshold is not None else tag_threshold
    pairs = sorted(
        zip(prediction.labels, (float(p) for p in prediction.probabilities), strict=True), key=lambda pair: -pair[1]
    )
    kept = [pair for pair in pairs if threshold is None or pair[1] >= threshold]
    return [{"label": label, "score": round(score, 6)} for label, score in kept[: options.top_k]]


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
