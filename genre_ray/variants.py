"""Variants of spectrograms: the same clip mastered otherwise, transposed, or a part of it, and their descriptors.

Descriptors sum up a whole picture, so they cannot be augmented batch by batch as the pictures are. Each clip has a few
variants instead, always the same ones: drawn from a seed that is its own content. Knows nothing about labels or models.
"""

import hashlib
import threading

import numpy as np
from numpy.typing import NDArray

from genre_ray.config import VariantConfig
from genre_ray.descriptors import N_DESCRIPTORS, describe_pictures

LEVELS_PER_DB = 255.0 / 80.0
_KNOTS = 7  # about one each octave of the mel scale from 130 Hz up
_REMEMBER = 100_000  # variants: 0.7 GB
_remembered: dict[bytes, NDArray[np.float32]] = {}
_lock = threading.Lock()


def describe_variants(pictures: NDArray[np.uint8], config: VariantConfig) -> NDArray[np.float32]:
    """Descriptors (N, count, 1811) of the variants of canonical spectrograms (N, 1, 128, columns).

    About 1 ms each. They are remembered, since every trial and fold of a search asks for the same ones.
    """
    setting = config.model_dump_json().encode()
    found = np.empty((len(pictures), config.count, N_DESCRIPTORS), np.float32)
    for row, picture in zip(found, pictures, strict=True):
        key = hashlib.blake2b(picture.tobytes(), key=setting[:64], digest_size=16).digest()
        known = _remembered.get(key)
        if known is None:
            known = describe_pictures(np.stack(variants(picture, config)))
            with _lock:
                _remembered[key] = known
                while len(_remembered) * config.count > _REMEMBER:
                    del _remembered[next(iter(_remembered))]
        row[:] = known
    return found


def variants(picture: NDArray[np.uint8], config: VariantConfig) -> list[NDArray[np.uint8]]:
    """`count` variants of a canonical spectrogram (1, 128, columns), each (1, 128, at most `columns`)."""
    seed = int.from_bytes(hashlib.blake2b(picture.tobytes(), digest_size=8).digest())
    generator = np.random.default_rng(seed)
    return [_vary(picture, config, generator) for _ in range(config.count)]


def _vary(picture: NDArray[np.uint8], config: VariantConfig, generator: np.random.Generator) -> NDArray[np.uint8]:
    _, rows, columns = picture.shape
    width = min(config.columns or columns, columns)
    start = int(generator.integers(0, columns - width + 1))
    shift = int(generator.integers(-config.shift_bins, config.shift_bins + 1))
    bins = np.clip(np.arange(rows) - shift, 0, rows - 1)  # beyond the edge the outermost bin is repeated
    curve = smooth_curves(1, rows, config.equaliser_db, generator)[0] * LEVELS_PER_DB
    varied = picture[:, bins, start : start + width] + curve[None, :, None]
    rounded: NDArray[np.uint8] = np.clip(np.round(varied), 0, 255).astype(np.uint8)
    return rounded


def smooth_curves(n: int, rows: int, deviation: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """(n, rows): normal deviates at even knots over the mel axis, straight lines between them."""
    knots = generator.standard_normal((n, _KNOTS)) * deviation
    place = np.linspace(0, _KNOTS - 1, rows)
    below = np.minimum(place.astype(np.int64), _KNOTS - 2)
    share = place - below
    return (knots[:, below] * (1 - share) + knots[:, below + 1] * share).astype(np.float32)
