"""Scores of predictions: accuracy, macro F1, calibration and confusion, with intervals; NumPy in, plain numbers out.

Knows nothing about Ray, torch, models or files. Rows are tracks, never clips.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genre_ray.intervals import CONFIDENCE, Interval, Summary, summarise_values, wilson_interval

ECE_BINS = 15
"""Equal-width bins of the calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

_BOOTSTRAP_ROUNDS = 2000
_COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
_SMALLEST_PROBABILITY = 1e-12  # keeps the log loss of a confidently wrong float32 row finite

Scored = NDArray[np.floating[Any]]
"""(N, L) probabilities; where only the order of a row matters, logits do as well."""

Targets = NDArray[np.integer[Any]]
"""(N,) label indices."""


@dataclass(frozen=True, slots=True)
class GenreRow:
    """One line of the per-genre table; a ratio without a denominator is 0, as in scikit-learn's report."""

    genre: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Tracks whose top probability is in (low, high]: their number, mean top probability and share of right answers."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """`count` tracks of genre `true` were called `predicted`: `share` of all tracks of that genre."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """Answering only from a top probability of `threshold` on covers `coverage` of the tracks at `accuracy`."""

    threshold: float
    coverage: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All that is known about one set of predictions; plain numbers, so that it goes to JSON and back."""

    labels: tuple[str, ...]
    n: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    log_loss: float
    ece: float
    per_genre: tuple[GenreRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    most_confused: tuple[ConfusedPair, ...]
    risk_coverage: tuple[CoveragePoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: dicts, lists, numbers, strings."""
        plain: dict[str, Any] = _lists(asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        low, high = data["accuracy_interval"]
        f1_low, f1_high = data["macro_f1_interval"]
        return cls(
            labels=tuple(data["labels"]),
            n=data["n"],
            accuracy=data["accuracy"],
            accuracy_interval=(low, high),
            macro_f1=data["macro_f1"],
            macro_f1_interval=(f1_low, f1_high),
            log_loss=data["log_loss"],
            ece=data["ece"],
            per_genre=tuple(GenreRow(**row) for row in data["per_genre"]),
            confusion=tuple(tuple(row) for row in data["confusion"]),
            reliability=tuple(ReliabilityBin(**row) for row in data["reliability"]),
            most_confused=tuple(ConfusedPair(**row) for row in data["most_confused"]),
            risk_coverage=tuple(CoveragePoint(**row) for row in data["risk_coverage"]),
        )


def accuracy(scored: Scored, targets: Targets) -> float:
    """Share of rows whose largest entry is the target; logits do as well. ValueError when there are no rows."""
    _require_rows(scored, targets)
    return float(np.mean(np.argmax(scored, axis=1) == targets))


def macro_f1(scored: Scored, targets: Targets) -> float:
    """Mean F1 over the labels that occur among targets or predictions (scikit-learn's macro F1); logits do as well."""
    _require_rows(scored, targets)
    return float(_macro_f1_of(confusion_matrix(scored, targets)[None])[0])


def confusion_matrix(scored: Scored, targets: Targets) -> NDArray[np.int64]:
    """Counts (L, L): row the true label, column the predicted one."""
    n_labels = scored.shape[1]
    cells = targets.astype(np.int64) * n_labels + np.argmax(scored, axis=1)
    return np.bincount(cells, minlength=n_labels**2).reshape(n_labels, n_labels)


def ece(probabilities: Scored, targets: Targets) -> float:
    """Expected calibration error of the top answer, 15 equal-width bins (Guo et al. 2017)."""
    _require_rows(probabilities, targets)
    n = len(targets)
    return sum(bin_.count / n * abs(bin_.accuracy - bin_.confidence) for bin_ in reliability(probabilities, targets))


def ece_of_perfect(probabilities: Scored, *, seed: int = 0, rounds: int = 200) -> float:
    """The calibration error that these probabilities would show on average if they were true.

    It is not 0, since few tracks fall into a bin: what a measured error must be compared with (Bröcker and Smith 2007).
    """
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    hits = np.random.default_rng(seed).random((rounds, len(confidence))) < confidence
    gaps = np.zeros((rounds, ECE_BINS))
    for i in np.unique(place):
        gaps[:, i] = np.abs((hits[:, place == i] - confidence[place == i]).sum(axis=1))
    return float(gaps.sum(axis=1).mean() / len(confidence))


def reliability(probabilities: Scored, targets: Targets) -> tuple[ReliabilityBin, ...]:
    """The bins behind `ece`; an empty bin has count 0 and zeros."""
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    right = np.argmax(probabilities, axis=1) == targets
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    count = np.bincount(place, minlength=ECE_BINS)
    filled = np.maximum(count, 1)
    mean_confidence = np.bincount(place, weights=confidence, minlength=ECE_BINS) / filled
    share_right = np.bincount(place, weights=right, minlength=ECE_BINS) / filled
    return tuple(
        ReliabilityBin(
            i / ECE_BINS, (i + 1) / ECE_BINS, int(count[i]), float(mean_confidence[i]), float(share_right[i])
        )
        for i in range(ECE_BINS)
    )


def log_loss(probabilities: Scored, targets: Targets) -> float:
    """Mean negative log probability of the true label, in nats."""
    _require_rows(probabilities, targets)
    of_target = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.mean(np.log(np.maximum(of_target, _SMALLEST_PROBABILITY))))


def risk_coverage(probabilities: Scored, targets: Targets) -> tuple[CoveragePoint, ...]:
    """Accuracy when only the most certain tracks are answered, in steps of 5 % (El-Yaniv and Wiener 2010)."""
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    right = (np.argmax(probabilities, axis=1) == targets)[np.argsort(-confidence, kind="stable")]
    ordered = -np.sort(-confidence)
    n = len(ordered)
    answered = sorted({max(1, math.floor(coverage * n + 0.5)) for coverage in _COVERAGES})
    return tuple(CoveragePoint(float(ordered[k - 1]), k / n, float(np.mean(right[:k]))) for k in answered)


def score(
    probabilities: Scored, targets: Targets, labels: Sequence[str], *, seed: int = 0, tracks: int | None = None
) -> Scores:
    """Everything about one set of predictions. `seed` is the bootstrap's.

    `tracks`: how many different tracks the rows are of, where several runs met the same ones; the intervals are those
    of so many tests (None: as many as rows).

    ValueError when there are no rows, shapes or label indices disagree with `labels`, or a row is no distribution.
    """
    _require_distributions(probabilities, targets, len(labels))
    counts = confusion_matrix(probabilities, targets)
    n = len(targets)
    right = int(np.trace(counts))
    return Scores(
        labels=tuple(labels),
        n=n,
        accuracy=right / n,
        accuracy_interval=wilson_interval(right * (tracks or n) / n, tracks or n),
        macro_f1=float(_macro_f1_of(counts[None])[0]),
        macro_f1_interval=_bootstrap_macro_f1(counts, seed, tracks),
        log_loss=log_loss(probabilities, targets),
        ece=ece(probabilities, targets),
        per_genre=_per_genre(counts, labels),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        reliability=reliability(probabilities, targets),
        most_confused=_most_confused(counts, labels),
        risk_coverage=risk_coverage(probabilities, targets),
    )


def summarise(
    runs: Sequence[Scores], *, splits: Sequence[str] | None = None, test_to_train: float = 0.0
) -> dict[str, Summary]:
    """Accuracy, macro F1, ECE and log loss over several runs; `splits` and `test_to_train` as in `summarise_values`.

    Without `splits` each run is a split of its own.
    """
    names = list(splits) if splits is not None else [str(i) for i in range(len(runs))]
    own = {"accuracy": runs[0].accuracy_interval, "macro_f1": runs[0].macro_f1_interval}
    largest = {"accuracy": 1.0, "macro_f1": 1.0, "ece": 1.0, "log_loss": math.inf}
    return {
        name: summarise_values(
            [getattr(run, name) for run in runs],
            names,
            test_to_train=test_to_train,
            own=own.get(name),
            bounds=(0.0, most),
        )
        for name, most in largest.items()
    }


def _macro_f1_of(counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Macro F1 of R confusion matrices (R, L, L), over the labels with a target or a prediction."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    either = counts.sum(axis=1) + counts.sum(axis=2)
    f1 = 2 * hits / np.maximum(either, 1)
    mean: NDArray[np.float64] = f1.sum(axis=1) / np.maximum((either > 0).sum(axis=1), 1)
    return mean


def _bootstrap_macro_f1(counts: NDArray[np.int64], seed: int, tracks: int | None = None) -> Interval:
    """Percentile bootstrap over tracks (Efron 1979): drawing tracks is a multinomial draw of the cells."""
    n = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(tracks or n, counts.ravel() / n, size=_BOOTSTRAP_ROUNDS)
    values = _macro_f1_of(draws.reshape(-1, *counts.shape))
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _per_genre(counts: NDArray[np.int64], labels: Sequence[str]) -> tuple[GenreRow, ...]:
    hits, predicted, support = np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    return tuple(
        GenreRow(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(labels)
    )


def _most_confused(counts: NDArray[np.int64], labels: Sequence[str], limit: int = 10) -> tuple[ConfusedPair, ...]:
    support = counts.sum(axis=1)
    pairs = [
        ConfusedPair(labels[i], labels[j], int(counts[i, j]), float(counts[i, j] / support[i]))
        for i, j in zip(*np.nonzero(counts), strict=True)
        if i != j
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.true, pair.predicted))[:limit])


def _require_rows(scored: Scored, targets: Targets) -> None:
    if scored.ndim != 2 or targets.shape != scored.shape[:1] or not len(targets):
        raise ValueError(f"scores need (N, L) rows and N targets, N > 0; found {scored.shape} and {targets.shape}")


def _require_distributions(probabilities: Scored, targets: Targets, n_labels: int) -> None:
    _require_rows(probabilities, targets)
    if probabilities.shape[1] != n_labels or targets.min() < 0 or targets.max() >= n_labels:
        raise ValueError(
            f"{n_labels} labels, but probabilities of shape {probabilities.shape} "
            f"and targets {targets.min()} to {targets.max()}"
        )
    # `not` and not `any(... > ...)`: a NaN must fail as well.
    if not (np.all(probabilities >= 0) and np.all(np.abs(probabilities.sum(axis=1) - 1) < 1e-3)):
        raise ValueError("each row of probabilities must be finite, not negative and sum to 1")


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(inner) for inner in value]
    return value
