"""What in the spectrogram spoke for an answer: cover it piece by piece and look (Zeiler and Fergus 2014, section 3.2).

Knows nothing about requests or Ray.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from genre_ray.inference import Predictor
from genre_ray.schema import Clip

_BANDS = 6
_SEGMENTS = 10
_CHUNK = 12


def occlusion_map(predictor: Predictor, clip: Clip, label: int, *, window_s: float) -> dict[str, Any] | None:
    """How much the probability of `label` falls when a piece of the spectrogram is replaced by its row's mean.

    `map` has `bands` rows from low to high frequency and `segments` columns in time over the `window_s` seconds of the
    clip; positive spoke for the label. None when the model sees no spectrogram.
    """
    picture = clip.spectrogram
    if picture is None:
        return None
    rows = np.array_split(np.arange(picture.shape[1]), _BANDS)
    columns = np.array_split(np.arange(picture.shape[2]), _SEGMENTS)
    neutral = np.broadcast_to(picture.mean(axis=2, keepdims=True).astype(np.uint8), picture.shape)
    covered = []
    for band in rows:
        for segment in columns:
            piece = picture.copy()
            place = (slice(None), slice(band[0], band[-1] + 1), slice(segment[0], segment[-1] + 1))
            piece[place] = neutral[place]
            covered.append(replace(clip, spectrogram=piece))
    probabilities = np.concatenate(
        [predictor.predict_clips([clip])]
        + [predictor.predict_clips(covered[i : i + _CHUNK]) for i in range(0, len(covered), _CHUNK)]
    )[:, label]
    fall = (probabilities[0] - probabilities[1:]).reshape(_BANDS, _SEGMENTS)
    if picture.shape[0] == 3:  # the paper's figure is an image from top to bottom
        fall = fall[::-1]
    return {
        "method": "occlusion",
        "label": predictor.labels[label],
        "bands": _BANDS,
        "segments": _SEGMENTS,
        "start_s": clip.start_s,
        "window_s": window_s,
        "map": [[round(float(value), 4) for value in row] for row in fall],
    }
