"""What there is to know about a training part, learnt from clips that come by once. Knows nothing about how it is used.

Histograms of levels are exact whatever the size. Rows of features and descriptors are kept, and their statistics exact,
as long as they fit; beyond, mean and deviation come from merged moments (Chan, Golub and LeVeque 1983), which is exact
but for rounding, and quantiles from an even random sample (Vitter 1985, algorithm R), which misses a quantile's rank by
about 0.1 % where 140,000 rows are kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genre_ray.clips import Clips, ClipTable
from genre_ray.config import FeatureConfig
from genre_ray.descriptors import describe_pictures
from genre_ray.scaling import count_levels, feature_statistics

_KEPT_BYTES = 64 * 1024**2
_REMEMBER = 64

State = dict[str, NDArray[np.float64]]


class Columns:
    """Rows (N, F) that come by once: all of them while they take at most `most_bytes`, then moments and a sample."""

    def __init__(self, most_bytes: int | None, seed: int = 0) -> None:
        self._most_bytes = most_bytes
        self._generator = np.random.default_rng(seed)
        self._kept: list[NDArray[np.float64]] = []
        self._mean = self._squares = np.zeros(0)
        self._sample: NDArray[np.float64] | None = None
        self.count = 0

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take in more rows."""
        if self._sample is None:
            self._kept.append(rows)
            self.count += len(rows)
            if self._most_bytes is not None and sum(part.nbytes for part in self._kept) > self._most_bytes:
                self._stop_keeping()
            return
        self._draw(rows)
        self._merge(rows)
        self.count += len(rows)

    def states(self) -> dict[str, State]:
        """What `scaling.scale_rows` needs, for each way of scaling."""
        ways = (FeatureConfig(scaling="standard"), FeatureConfig(scaling="quantile"), FeatureConfig(scaling="none"))
        rows = np.concatenate(self._kept) if self._sample is None else self._sample
        found: dict[str, State] = {way.scaling: feature_statistics(rows, way) for way in ways}
        if self._sample is not None:
            deviation = np.sqrt(self._squares / self.count)
            found["standard"] = {"mean": self._mean, "deviation": np.where(deviation > 0, deviation, 1.0)}
        return found

    def _stop_keeping(self) -> None:
        assert self._most_bytes is not None
        rows = np.concatenate(self._kept)
        size = max(1, self._most_bytes // rows[0].nbytes)
        self._mean, self._squares = rows.mean(axis=0), np.square(rows - rows.mean(axis=0)).sum(axis=0)
        self._sample = rows[self._generator.choice(len(rows), min(size, len(rows)), replace=False)]
        self._kept = []

    def _draw(self, rows: NDArray[np.float64]) -> None:
        assert self._sample is not None
        places = self._generator.integers(0, self.count + 1 + np.arange(len(rows)))
        chosen = places < len(self._sample)
        self._sample[places[chosen]] = rows[chosen]

    def _merge(self, rows: NDArray[np.float64]) -> None:
        mean, total = rows.mean(axis=0), self.count + len(rows)
        step = mean - self._mean
        self._squares = self._squares + np.square(rows - mean).sum(axis=0)
        self._squares += np.square(step) * (self.count * len(rows) / total)
        self._mean = self._mean + step * (len(rows) / total)


@dataclass(slots=True)
class Learnt:
    """Of a part: counts of levels (C, H, 256), statistics of features by way of scaling, and of descriptors; None where
    it has none, or nobody asked.
    """

    levels: NDArray[np.float64] | None
    features: dict[str, State] | None
    descriptors: State | None


def learn(train: Clips, *, pictures: bool, descriptors: bool) -> Learnt:
    """One pass over `train`; of a part that is streamed the last few are remembered, since every trial of a search asks
    for the same ones.
    """
    if isinstance(train, ClipTable):
        return _learn([train], pictures, descriptors, most_bytes=None)
    key = (train.key, pictures, descriptors)
    if key not in _remembered:
        _remembered[key] = _learn(train.pieces(pictures=pictures), pictures, descriptors, most_bytes=_KEPT_BYTES)
        while len(_remembered) > _REMEMBER:
            del _remembered[next(iter(_remembered))]
    return _remembered[key]


_remembered: dict[tuple[str | None, bool, bool], Learnt] = {}


def _learn(pieces: Iterable[ClipTable], pictures: bool, descriptors: bool, *, most_bytes: int | None) -> Learnt:
    levels: NDArray[np.float64] | None = None
    rows, described = Columns(most_bytes), Columns(most_bytes)
    for piece in pieces:
        if pictures and piece.spectrogram is not None:
            counts = count_levels(piece.spectrogram)
            levels = counts if levels is None else levels + counts
            if descriptors:
                described.add(describe_pictures(piece.spectrogram).astype(np.float64))
        if piece.features is not None:
            rows.add(piece.features)
    return Learnt(
        levels=levels,
        features=rows.states() if rows.count else None,
        descriptors=described.states()["standard"] if described.count else None,
    )
